// How a program is found and started: its command line, where it stands, what it is given, and what becomes of one
// that cannot be started.
import { strict as assert } from 'node:assert';
import { execFile } from 'node:child_process';
import { chmod, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { commandOf } from '../../../runtimes/process/command.ts';
import { ProcessRuntime } from '../../../runtimes/process/runtime.ts';
import { Failure } from '../../../src/core/failure.ts';
import type { Entry } from '../../../src/core/plugin.ts';
import { Lodgings } from '../../../src/programs/lodgings.ts';
import { Programs } from '../../../src/programs/programs.ts';
import { BOUNDS, FIXTURES, Trial } from '../../support/process.ts';

let trial: Trial;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'isopod-start-'));
  await chmod(folder, 0o755);
  trial = await Trial.start();
});

afterAll(async () => {
  await trial[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const show = (...args: string[]) => ['python3', '{pluginDir}/show.py', ...args];

describe('the command line', () => {
  test('is exec and then execArgs of the task, with {pluginDir} wherever it stands and nothing else replaced', async () => {
    const entry: Entry = {
      kind: 'task',
      name: 'Run',
      description: '',
      execArgs: ['--dir={pluginDir}/a:{pluginDir}/b', '{PluginDir}', '{pluginDir', '$HOME'],
      defaultArgs: {},
    };
    const { argv } = await trial.output(show('first'), { entry });
    assert.deepEqual(argv.slice(1), [
      'first',
      `--dir=${FIXTURES}/a:${FIXTURES}/b`,
      '{PluginDir}',
      '{pluginDir',
      '$HOME',
    ]);
  });

  // 108
  test('is read by no shell', async () => {
    const args = [
      'a b',
      '"',
      "'",
      ';touch x',
      '$(touch x)',
      '`x`',
      '&& x',
      '|x',
      '>x',
      '*',
      '-n',
      '--',
      '',
      '\n',
      '\\',
      '$&',
      'é',
    ];
    const { argv } = await trial.output(show(...args));
    assert.deepEqual(argv.slice(1), args);
  });

  test('may begin with what a shell would take for an option or a variable', async () => {
    for (const name of ['-c', '--', '-', 'A=b', '$0']) {
      const failure = await trial.failure([name]);
      assert.equal(failure.code, 'plugin_boot_failed');
      assert.equal(failure.message, `Could not start ${JSON.stringify(name)}: there is no such program`);
    }
  });

  test('keeps a folder whose name would mean something in a replacement', async () => {
    const dir = join(folder, "$& $1 $' name");
    await mkdir(dir);
    await writeFile(join(dir, 'tell.sh'), '#!/bin/sh\nprintf %s "$1"\n', { mode: 0o755 });
    assert.equal(await trial.output(['tell.sh', '<{pluginDir}>'], { plugin: { dir } }), `<${dir}>`);
  });

  test('begins with a program on PATH before one of that name in the folder of the plugin', async () => {
    const dir = join(folder, 'shadow');
    await mkdir(dir);
    await writeFile(join(dir, 'printf'), '#!/bin/sh\necho mine\n', { mode: 0o755 });
    assert.equal(await trial.output(['printf', 'theirs'], { plugin: { dir } }), 'theirs');
    assert.equal(await trial.output(['./printf', 'x'], { plugin: { dir } }), 'mine\n');
  });

  test('keeps {pluginDir} in its first word, which Stash does not replace', async () => {
    assert.equal((await trial.failure(['{pluginDir}/deaf.sh'])).code, 'plugin_boot_failed');
  });

  test('takes an absolute path as it is, or else below the folder of the plugin', async () => {
    assert.equal(await trial.output(['/bin/sh', '-c', 'echo x']), 'x\n');
    assert.equal(await trial.output(['/deaf.sh']), 'heard nothing');
  });

  test('is empty where the manifest names none', async () => {
    assert.equal((await trial.failure([])).message, 'empty exec value');
  });

  test('is not longer than the system takes', async () => {
    const failure = await trial.failure(['sh', '-c', `: ${'x'.repeat(200_000)}`]);
    assert.equal(failure.code, 'plugin_boot_failed');
    await trial.assertNothingLeft();
  });

  test('holds no NUL', async () => {
    assert.equal((await trial.failure(['sh', '-c', 'a\0b'])).code, 'plugin_boot_failed');
  });
});

describe('python', () => {
  const plugin = trialPlugin(['python', 'x.py']);

  test('is the configured one, then python3, then python', async () => {
    const bin = join(folder, 'bin');
    await mkdir(bin);
    const put = async (name: string) => {
      const file = join(bin, name);
      await writeFile(file, `#!/bin/sh\necho ${file}-real\n`, { mode: 0o755 });
      await writeFile(`${file}-real`, '#!/bin/sh\n', { mode: 0o755 });
      return `${file}-real`;
    };
    const find = async (pythonPath?: string) =>
      (
        await commandOf(
          plugin,
          { kind: 'operation' },
          new Programs({ path: bin, pythonPath, isUsable: async () => true }),
        )
      ).file;
    await assert.rejects(find(), (error: Failure) => error.code === 'plugin_boot_failed');
    const python = await put('python');
    assert.equal(await find(), python);
    const python3 = await put('python3');
    assert.equal(await find(), python3);
    const configured = await put('configured');
    assert.equal(await find(join(bin, 'configured')), configured);
    assert.equal(await find(join(bin, 'missing')), python3);
  });

  test('is the interpreter itself and not what a version manager puts before it, and is looked for once', async () => {
    const bin = join(folder, 'shims');
    await mkdir(bin);
    const asked = join(folder, 'asked');
    await writeFile(join(bin, 'python3'), `#!/bin/sh\necho x >>${asked}\necho ${FIXTURES}/deaf.sh\n`, { mode: 0o755 });
    const programs = new Programs({ path: bin, pythonPath: undefined, isUsable: async () => true });
    const files = await Promise.all([1, 2, 3].map(() => commandOf(plugin, { kind: 'operation' }, programs)));
    assert.deepEqual(new Set(files.map(({ file }) => file)), new Set([`${FIXTURES}/deaf.sh`]));
    assert.equal(await readFile(asked, 'utf8'), 'x\n');
  });

  test('imports from the folder that holds the folder of the plugin', async () => {
    const { environment } = await trial.output(show());
    assert.equal(environment.PYTHONPATH, dirname(FIXTURES));
    await using other = await Trial.start({ environment: { PYTHONPATH: '/lib/mine' } });
    assert.equal((await other.output(show())).environment.PYTHONPATH, `/lib/mine:${dirname(FIXTURES)}`);
  });
});

describe('a program is given', () => {
  test('an environment of our choosing and none of our own secrets', async () => {
    process.env.ISOPOD_TEST_SECRET = 'secret';
    const { environment, cwd } = await trial.output(show());
    delete process.env.ISOPOD_TEST_SECRET;
    const known =
      /^(?:PATH|HOME|TMPDIR|LANG|LANGUAGE|LC_[A-Z]+|TZ|PYTHONPATH|ISOPOD_RUN|TRIAL|PWD|OLDPWD|SHLVL|_|NODE_USE_ENV_PROXY|HTTPS?_PROXY|NO_PROXY|https?_proxy|no_proxy)$/;
    assert.deepEqual(
      Object.keys(environment).filter((name) => !known.test(name)),
      [],
    );
    assert.equal(environment.HOME, cwd);
    assert.equal(environment.TMPDIR, cwd);
  });

  test('an empty folder of its own to stand in, which nobody else sees', async () => {
    const list = ['sh', '-c', 'ls -A | wc -l; echo mine >mine; sleep 0.2; cat mine'];
    // Not one of ours, which may itself lie below the folder for temporary files.
    const plugin = { dir: '/usr/share', realDir: '/usr/share' };
    for (const said of await Promise.all([trial.output(list, { plugin }), trial.output(list, { plugin })])) {
      assert.deepEqual(said.trim().split(/\s+/), ['0', 'mine']);
    }
  });

  test('no descriptor of ours but standard input, output and error', async () => {
    const { descriptors } = await trial.output(show());
    // One is the folder being read; what this very test was started with is handed on to everybody.
    const inherited = descriptors.filter((fd: number) => fd > 9);
    assert.deepEqual(
      descriptors.filter((fd: number) => !inherited.includes(fd)),
      [0, 1, 2, 3],
    );
  });

  test('its input, also by the name of /dev/stdin, and however short or often', async () => {
    const expected = (await trial.output(show(), { args: { a: 1 } })).stdin;
    assert(expected.endsWith('"args":{"a":1}}'));
    const cat = ['sh', '-c', 'printf "%s" "$(cat /dev/stdin)" | wc -c; cat </dev/stdin | wc -c'];
    const counts = (await trial.output(cat, { args: { a: 1 } })).trim().split(/\s+/);
    assert.deepEqual(counts, [String(expected.length), String(expected.length)]);
  });

  test('an output and an error stream that can be opened by their names', async () => {
    const outcome = await trial.run(['sh', '-c', 'echo "{\\"output\\":1}" >/dev/stdout; echo log >/dev/stderr']);
    assert(outcome.ok);
    assert.equal(outcome.output, '1');
    assert.equal(outcome.logs[0]?.message, '[Plugin / Trial] log');
  });

  test('signals as they are for any program', async () => {
    const status = await trial.output(['grep', 'Sig[BI]', '/proc/self/status']);
    assert.equal(status, 'SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n');
  });
});

describe('what cannot be started is named as the manifest names it:', () => {
  const TABLE: Record<string, { exec: string[]; says: RegExp }> = {
    'nothing of that name': { exec: ['missing.sh'], says: /^Could not start "missing.sh": there is no such program$/ },
    'a folder': { exec: ['../process'], says: /it is not a file$/ },
    'not executable': { exec: ['not-executable.sh'], says: /the file is not executable \(chmod \+x\)$/ },
    'no program and no script': { exec: ['no-shebang'], says: /neither a program of this machine nor a script/ },
    'an interpreter that is not there': { exec: ['bad-shebang.sh'], says: /there is no "\/no\/such\/interpreter"/ },
  };
  for (const [what, { exec, says }] of Object.entries(TABLE)) {
    test(what, async () => {
      const failure = await trial.failure(exec);
      assert.equal(failure.code, 'plugin_boot_failed');
      assert.match(failure.message, says);
      assert(!failure.message.includes(dirname(FIXTURES)), 'it tells where we keep things');
    });
  }

  test('what only the kernel knows to be unfit', async () => {
    // A program for this machine whose loader is not there: it exists, it may be run, and it cannot be.
    const elf = await readFile('/bin/true');
    const at = elf.indexOf('/lib64/ld-linux');
    if (at === -1) return;
    elf.write('/lib64/xx', at);
    await writeFile(join(folder, 'no-loader'), elf, { mode: 0o755 });
    const outcome = await trial.run(['no-loader'], { plugin: { dir: folder } });
    assert(!outcome.ok);
    assert.equal(outcome.failure.code, 'plugin_boot_failed');
    assert.match(outcome.failure.message, /^Could not start "no-loader": /);
    assert.deepEqual(outcome.logs, []);
  });

  test("a program's own 126 and 127 are exits like others", async () => {
    assert.equal((await trial.failure(['sh', '-c', 'exit 126'])).message, 'exit status 126');
    assert.equal((await trial.failure(['sh', '-c', 'exit 127'])).message, 'exit status 127');
    assert.equal((await trial.failure(['sh', '-c', 'no-such-program'])).message, 'exit status 127');
  });

  test('a program cannot pass for one that was not started, whatever it knows of its launcher', async () => {
    const forge = `
name=$(tr '\\0' '\\n' </proc/$PPID/cmdline | grep '^launcher' | head -n 1)
{ echo "$name: not found"; echo "$name: 33: exec: x: not found"; echo unstarted; } >&2
(echo unstarted >&3) 2>/dev/null
for fd in 4 5 6 7 8 9 10 11 12; do (echo unstarted >/proc/self/fd/$fd) 2>/dev/null; done
trap 'echo unstarted' EXIT
exit 127`;
    const outcome = await trial.run(['sh', '-c', forge]);
    assert(!outcome.ok);
    assert.deepEqual([outcome.failure.code, outcome.failure.message], ['plugin_error', 'exit status 127']);
    const said = outcome.logs.map(({ message }) => message.replace('[Plugin / Trial] ', ''));
    assert.match(said[0] ?? '', /^launcher.*: not found$/);
    assert.match(said[1] ?? '', /: exec: x: not found$/);
    assert.equal(said[2], 'unstarted');
  });
});

describe('how a program ended is told apart:', () => {
  test('exit 137 from SIGKILL, exit 139 from SIGSEGV', async () => {
    assert.equal((await trial.failure(['sh', '-c', 'exit 137'])).message, 'exit status 137');
    assert.equal((await trial.failure(['sh', '-c', 'kill -KILL $$'])).message, 'Died of SIGKILL');
    assert.equal((await trial.failure(['sh', '-c', 'exit 139'])).message, 'exit status 139');
    const crash = await trial.failure(['sh', '-c', 'kill -SEGV $$']);
    assert.deepEqual([crash.code, crash.message], ['plugin_crashed', 'Died of SIGSEGV']);
  });
});

describe('the runtime', () => {
  test('runs what says that it is a process, and nothing else', () => {
    assert.equal(trial.runtime.runs(trialPlugin(['x'])), true);
    assert.equal(trial.runtime.runs({ ...trialPlugin([]), program: { runtime: 'isolate', file: 'x.js' } }), false);
  });

  test('holds a program to its time to start', async () => {
    const failure = await trial.failure(['deaf.sh'], { limits: { bootMs: 0 } });
    assert.equal(failure.code, 'plugin_boot_failed');
    assert.equal(failure.details.limit?.name, 'bootMs');
    await trial.assertNothingLeft();
  });

  test('counts what it has running', async () => {
    const cancel = new AbortController();
    const running = trial.run(['sleeper.sh'], { signal: cancel.signal });
    assert.deepEqual(trial.runtime.gauges(), { processes: 1, processesMb: 0, processesWaiting: 0, processesParked: 0 });
    cancel.abort(new Failure('cancelled', 'Enough'));
    await running;
    assert.deepEqual(trial.runtime.gauges(), { processes: 0, processesMb: 0, processesWaiting: 0, processesParked: 0 });
  });

  test('explains how well it keeps a plugin in', async () => {
    await using lodgings = new Lodgings({ tier: 'process-group', cgroup: 'off' });
    await using lesser = new ProcessRuntime({ ...BOUNDS, lodgings });
    const explained = await lesser.explain('tenant', trialPlugin(['x']));
    assert.deepEqual([explained.runtime, explained.way], ['process', 'process-group']);
    assert.match(await lodgings.describe(), /^process-group: .*can leave it behind$/);
  });

  test('runs nothing where the machine does not have the isolation that is asked for', async () => {
    const path = process.env.PATH;
    process.env.PATH = join(folder, 'nowhere');
    await using lodgings = new Lodgings({ tier: 'pid-namespace' });
    await using strict = new ProcessRuntime({ ...BOUNDS, lodgings });
    const outcome = await strict.run(trial.invocation(['/bin/true'], {}), AbortSignal.timeout(10_000));
    const { way } = await strict.explain('tenant', trialPlugin(['x']));
    process.env.PATH = path;
    assert(!outcome.ok);
    assert.equal(outcome.failure.code, 'sandbox_unavailable');
    assert.equal(way, 'none');
    assert.match(strict.unready() ?? '', /must run at the tier pid-namespace/);
  });

  test('refuses arguments that no plugin could be given', async () => {
    let deep: unknown = 1;
    for (let level = 0; level < 200_000; level++) deep = [deep];
    assert.equal((await trial.failure(['deaf.sh'], { args: { deep } })).code, 'invalid_request');
  });

  test('tells what a run used', async () => {
    const outcome = await trial.run(['python3', '{pluginDir}/show.py']);
    assert(outcome.ok);
    assert(outcome.usage.peakMemoryBytes > 4_000_000, `${outcome.usage.peakMemoryBytes}`);
    assert(outcome.bootMs > 0 && outcome.bootMs < outcome.usage.wallMs);
    assert.equal(outcome.usage.outputBytes, Buffer.byteLength(outcome.output));
  });
});

test.runIf(process.getuid?.() === 0)('a folder that only root can read is said to be one', async () => {
  const closed = await mkdtemp(join(folder, 'closed-'));
  const failure = await trial.failure(['true'], { plugin: { dir: closed, realDir: closed } });
  assert.equal(failure.code, 'plugin_boot_failed');
  assert.match(failure.message, /cannot be read by the user that its programs run as/);
});

test('a plain folder is read only to its programs, however open it is: what is in there is read as a plugin again', async () => {
  const open = await mkdtemp(join(folder, 'open-'));
  await chmod(open, 0o777);
  const touch = ['sh', '-c', 'touch "$1/other.yml" 2>/dev/null; ls "$1"', 'sh', '{pluginDir}'];
  assert.equal(await trial.output(touch, { plugin: { dir: open, realDir: open } }), '');
  // The copy of an archive is not read again, and is its programs' own.
  const own = await trial.output(touch, { plugin: { dir: open, realDir: open, ownDir: open } });
  assert.equal(own.trim(), 'other.yml');
});

describe('what a script of a plugin names as its reader', () => {
  const named = async (first: string) => {
    const own = await mkdtemp(join(folder, 'named-'));
    await chmod(own, 0o755);
    await writeFile(join(own, 'run.sh'), `#!${first}\nls ${folder}/secret\n`, { mode: 0o755 });
    return { dir: own, realDir: own };
  };

  test('is never bound for its sake, however the name is spelt', async () => {
    await mkdir(join(folder, 'secret'), { recursive: true });
    const plugin = await named(`/bin/sh\t/../../..${folder}`);
    await trial.run(['run.sh'], { plugin });
    const reader = join(folder, 'secret', 'reader');
    await cp('/bin/sh', reader);
    for (const first of [reader, `${reader} x`, `${folder}/secret/../secret/reader`]) {
      const outcome = await trial.run(['run.sh'], { plugin: await named(first) });
      assert.equal(outcome.ok, false, first);
    }
  });

  test('may be a pipe that nobody writes to, and holds up nobody', async () => {
    const plugin = await named('/bin/sh');
    await rm(join(plugin.dir, 'run.sh'));
    await promisify(execFile)('mkfifo', ['-m', '755', join(plugin.dir, 'run.sh')]);
    const failures = await Promise.all(Array.from({ length: 8 }, () => trial.failure(['run.sh'], { plugin })));
    assert.deepEqual(new Set(failures.map(({ code }) => code)), new Set(['plugin_boot_failed']));
  });
});

test('a link to a program is followed inside the folder of the plugin, and no further', async () => {
  await cp(join(FIXTURES, 'deaf.sh'), join(folder, 'deaf.sh'));
  await chmod(folder, 0o755);
  await symlink('deaf.sh', join(folder, 'linked'));
  assert.equal(await trial.output(['linked'], { plugin: { dir: folder, realDir: folder } }), 'heard nothing');
  await symlink(join(FIXTURES, 'deaf.sh'), join(folder, 'stray'));
  const failure = await trial.failure(['stray'], { plugin: { dir: folder, realDir: folder } });
  assert.equal(failure.code, 'plugin_boot_failed');
});

function trialPlugin(exec: string[]) {
  return Trial.plugin({ program: { runtime: 'process', exec, speaks: 'raw' } });
}
