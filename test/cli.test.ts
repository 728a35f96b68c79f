import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { writePlugin } from './support/service.ts';

const CLI = fileURLToPath(new URL('../src/cli.ts', import.meta.url));

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'isopod-cli-'));
  await writePlugin(join(cwd, 'plugins/stash/greet'), {
    'greet.yml': "name: Greet\ninterface: js\nexec: [greet.js]\ntasks: [{name: It's me, defaultArgs: {who: world}}]\n",
    'greet.js': `
      log.Warn("a\\u001b[31mb\\nc\\u009bd");
      log.Progress(0.25);
      if (input.Args.fail) throw new Error("on \\u001b[2J purpose");
      if (input.Args.wait) util.Sleep(input.Args.wait);
      ({ Output: { hello: input.Args.who, odd: "\\u2028\\u009b" } });
    `,
  });
  // The first by name: it would make no good example, as it needs an application.
  await writePlugin(join(cwd, 'plugins/stash/asks'), {
    'asks.yml': 'name: Asks\ninterface: js\nexec: [asks.js]\ntasks: [{name: Ask}]\n',
    'asks.js': '({ Output: gql.Do("{ version }") });',
  });
  await writePlugin(join(cwd, 'two'), {
    'one.yml': 'name: One\nexec: [one.sh]\n',
    'one.sh': '#!/bin/sh\necho \'{"output": "one"}\'\n',
    'two.yml': 'name: Two\nexec: [absent.sh]\n',
  });
  await writePlugin(join(cwd, 'open'), {
    'open.yml': 'name: Open\nexec: [open.sh]\n',
    'open.sh': '#!/bin/sh\nls -l /proc/$$/fd >&2\n',
  });
  await writePlugin(join(cwd, 'bad'), { 'bad.yml': 'name: Bad\nfoo: 1\n' });
  await writePlugin(join(cwd, 'empty'), { 'readme.txt': '' });
  await writePlugin(join(cwd, 'Server'), { 'index.js': 'throw new Error("is never run")' });
  await writePlugin(join(cwd, 'legacy'), { 'index.js': '', 'plugin.py': 'raise Exception("is run")' });
});
afterAll(() => rm(cwd, { recursive: true, force: true }));

type Ended = { code: number | null; stdout: string; stderr: string };

function environment(env: Record<string, string>) {
  return { PATH: process.env.PATH ?? '', HOME: cwd, ...env };
}

function isopod(words: string[], env: Record<string, string> = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [CLI, ...words],
      { cwd, env: environment(env) },
      (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

test('run prints the output alone on standard output, and everything else beside it', async () => {
  const { code, stdout, stderr } = await isopod([
    'run',
    'plugins/stash/greet',
    '--task',
    "It's me",
    '--args',
    '{"x": 1}',
  ]);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual({ hello: 'world', odd: '\u2028\u009b' });
  expect(stderr).toMatch(/ms warning {2}\[Plugin \/ Greet\] a\\u001b\[31mb\n {22}c\\u009bd\n/);
  expect(stderr).toContain('progress 25 %\n');
  expect(stderr).toMatch(/^ok after [\d.]+ ms: cpu [\d.]+ ms, peak [\d.]+ MB, 0 calls of the application$/m);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are the subject
  expect(stdout + stderr).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028]/);
});

test('run leaves nothing behind where the author works', async () => {
  await isopod(['run', 'plugins/stash/greet']);
  expect((await readdir(cwd)).sort()).toEqual(['Server', 'bad', 'empty', 'legacy', 'open', 'plugins', 'two']);
});

test('run ends with 1 where the plugin failed, with its own words and a hint', async () => {
  const { code, stdout, stderr } = await isopod(['run', 'plugins/stash/greet', '--args', '{"fail": true}']);
  expect([code, stdout]).toEqual([1, '']);
  expect(stderr).toMatch(/^plugin_error: /m);
  expect(stderr).toContain('on \\u001b[2J purpose');
  expect(stderr).toContain('Read pluginError');
});

test('run --json is one document, for good and for bad', async () => {
  const good = await isopod(['run', 'plugins/stash/greet', '--json']);
  expect(JSON.parse(good.stdout)).toMatchObject({ output: { odd: '\u2028\u009b' }, logs: [{ level: 'warning' }] });
  expect(good.stderr).toBe('');
  const bad = await isopod(['run', 'plugins/stash/greet', '--json', '--args', '{"fail": true}']);
  expect(JSON.parse(bad.stdout)).toMatchObject({ code: 'plugin_error', status: 502, logs: [{ level: 'warning' }] });
  expect(bad.code).toBe(1);
});

test('check says what was proven of this machine, and ends with 3 below the least that will do', async () => {
  const before = await readdir(cwd);
  const { code, stdout } = await isopod(['check', '--json', '--least', 'full']);
  const { least, processes, executors } = JSON.parse(stdout);
  expect(least).toBe('full');
  expect(code).toBe(processes.grade === 'full' && executors.grade === 'full' ? 0 : 3);
  // Whatever this machine has, this much was tried, and holds in every tier.
  expect(processes.layers.find(({ id }: { id: string }) => id === 'environment')).toMatchObject({ state: 'proven' });
  expect(executors.layers.find(({ id }: { id: string }) => id === 'memory')).toMatchObject({ state: 'proven' });

  const shown = await isopod(['check']);
  expect(shown.code).toBe(0);
  expect(shown.stdout).toMatch(new RegExp(`^processes: ${processes.grade} \\(`, 'm'));
  for (const { name } of processes.layers) expect(shown.stdout).toContain(`  ${name} `);
  expect(await readdir(cwd)).toEqual(before);

  const wrong = await isopod(['check', '--least', 'utmost']);
  expect([wrong.code, wrong.stderr]).toEqual([
    2,
    'isopod: --least must be one of none, limited, fenced, contained, full, not "utmost"\n',
  ]);
});

test('run takes a folder with one manifest, or is told which', async () => {
  const several = await isopod(['run', 'two']);
  expect([several.code, several.stderr]).toEqual([
    2,
    'isopod: There are several plugins in two: pick one with --plugin, of one, two\n',
  ]);
  const picked = await isopod(['run', 'two', '--plugin', 'one']);
  expect([picked.code, picked.stdout]).toEqual([0, '"one"\n']);
  expect((await isopod(['run', 'two', '--plugin', 'two'])).code).toBe(1);
  expect((await isopod(['run', 'two', '--plugin', 'six'])).stderr).toContain(
    'There is no plugin six in two: there are one, two',
  );
});

test('run says how a plugin that answers requests is called, and takes none for one that is another as well', async () => {
  const { code, stdout, stderr } = await isopod(['run', 'Server']);
  expect([code, stdout]).toEqual([2, '']);
  expect(stderr).toMatch(/^isopod: Plugin "server" has nothing that is run once: it answers HTTP requests below /);
  expect(stderr).toContain('ISOPOD_SILLYTAVERN_ENABLED=true');
  expect(stderr).toContain('POST /v1/plugins/server/enable');
  const single = await isopod(['run', 'Server/index.js']);
  expect(single.code).toBe(2);
  expect(single.stderr).toMatch(
    /^isopod: Server\/index\.js is not a folder; as a single file it can only be a SillyTavern server plugin\n.*\n.*put it into the folder sillytavern of ISOPOD_PLUGINS_DIR/,
  );
  expect((await isopod(['run', 'legacy', '--task', 'x'])).stderr).toMatch(/^plugin_boot_failed: /m);
});

test.each([
  [['run', 'absent'], 'isopod: absent is not a folder\n'],
  [
    ['run', 'empty'],
    'isopod: There is no plugin in empty: a Stash plugin has a .yml file, a Dispatcharr plugin plugin.py, a SillyTavern server plugin index.js\n',
  ],
  [['run', 'bad'], /^isopod: bad\/bad\.yml:2(:\d+)?: .*foo/],
  [['run', 'plugins/stash/greet', '--args', '[1]'], /--args must be a JSON object/],
  [['run', 'plugins/stash/greet', '--args', '{'], /--args is not JSON: /],
  [['run', 'plugins/stash/greet', '--task', 'x'], /^not_found: .*it has "It's me"/],
  [['run', 'plugins/stash/greet', '--application', 'here'], /--application must be an http:\/\/ or https:\/\/ URL/],
  [['serve', '--port', 'http'], 'isopod: --port must be a whole number from 0 to 65535, not "http"\n'],
  [
    ['serve', '--host', '0.0.0.0'],
    /isopod: host is 0\.0\.0\.0, which others can reach, and there is no token: set ISOPOD_TOKEN/,
  ],
  [['serve', '--host', '192.0.2.1.5'], /no token/],
  [['serve', '--config', 'absent.yaml'], /absent\.yaml cannot be read/],
  [['serv'], /unknown command 'serv'\n\(Did you mean serve\?\)/],
])('%j is wrong, which is said in a sentence, and the exit code is 2', async (words, sentence) => {
  const { code, stderr, stdout } = await isopod(words);
  if (typeof sentence === 'string') expect(stderr).toBe(sentence);
  else expect(stderr).toMatch(sentence);
  expect([code, stdout]).toEqual([2, '']);
  expect(stderr).not.toMatch(/^\s+at /m);
});

test('run lets the plugin reach what the command line grants, and says what it does not', async () => {
  const web = createServer((_, response) => response.end('hello')).listen(0, '127.0.0.2');
  await once(web, 'listening');
  const { port } = web.address() as AddressInfo;
  const host = `127.0.0.2:${port}`;
  await writePlugin(join(cwd, 'reaching'), {
    'reaching.yml': 'name: Reaching\nexec: [python3, "{pluginDir}/reach.py"]\n',
    'reach.py': `import json, sys, urllib.request, urllib.error
given = json.load(sys.stdin)
proxy = urllib.request.ProxyHandler({'http': 'http://127.0.0.1:%d' % given['server_connection']['Port']})
def get(url):
    try: return urllib.request.build_opener(proxy).open(url).read().decode()
    except urllib.error.HTTPError as error: return error.headers['Isopod-Egress']
print(json.dumps({'output': [get('http://${host}/'), get('http://api.example.com/')]}))
`,
  });
  const env = { ISOPOD_EGRESS_RANGES: '127.0.0.2/32' };
  const granted = await isopod(['run', 'reaching', '--allow-network', 'x.example.com', '--allow-network', host], env);
  expect(JSON.parse(granted.stdout)).toEqual(['hello', 'not granted']);
  expect(granted.stderr).toContain('refused api.example.com:80: not granted (--allow-network api.example.com)\n');
  const none = await isopod(['run', 'reaching'], env);
  expect(JSON.parse(none.stdout)).toEqual(['not granted', 'not granted']);
  web.close();
  for (const [flag, value, says] of [
    ['--allow-network', '*', /^isopod: --allow-network \* is not the name or address of a host/],
    ['--allow-files', '/proc/1:ro', /^isopod: --allow-files \/proc\/1:ro is in \/proc/],
  ] as const) {
    const { code, stderr } = await isopod(['run', 'reaching', flag, value]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(says)]);
  }
});

test('help names the exit codes', async () => {
  for (const words of [['--help'], ['run', '--help'], ['serve', '--help']]) {
    const { code, stdout } = await isopod(words);
    expect(code).toBe(0);
    expect(stdout).toMatch(/Exit codes:\n {2}0 .*\n {2}1 .*\n {2}2 .*\n {2}3 /);
  }
});

test('run hands the plugin the application that it is given, with the key that a variable has', async () => {
  const keys: unknown[] = [];
  const application = createServer(({ headers }, response) => {
    keys.push(headers.apikey);
    response.end('{"data":{"version":1}}');
  });
  await new Promise<void>((resolve) => application.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(application.address() as AddressInfo).port}`;
  const words = ['run', 'plugins/stash/asks'];
  const { code, stderr } = await isopod([...words, '--application', url]);
  const [name, key] = ['--application-api-key-env', 'never-to-be-seen'];
  const shown = await isopod([...words, '--application', url, name, 'MY_KEY'], { MY_KEY: key });
  expect([shown.code, keys]).toEqual([0, [undefined, key]]);
  expect(shown.stdout + shown.stderr).not.toContain(key);
  for (const [env, sentence] of [
    [{}, '--application-api-key-env: there is no variable MY_KEY'],
    [{ MY_KEY: 'never to be' }, '--application-api-key-env MY_KEY must be 8 or more visible characters but \\'],
  ] as const) {
    const refused = await isopod([...words, '--application', url, name, 'MY_KEY'], env);
    expect([refused.code, refused.stderr]).toEqual([2, `isopod: ${sentence}\n`]);
  }
  application.closeAllConnections();
  application.close();
  expect(code).toBe(0);
  expect(stderr).toContain(' 1 calls of the application');
  expect((await isopod(words)).stderr).toContain('ISOPOD_APPLICATION_URL');
});

/** `isopod serve`, running. */
class Served implements AsyncDisposable {
  readonly child: ChildProcess;
  /** What it said while it took its time to start. */
  readonly beginnings: string[] = [];
  readonly lines: string[] = [];
  readonly ended: Promise<[number | null, string | null]>;

  constructor(words: string[], env: Record<string, string> = {}) {
    // What check finds out has a test of its own.
    const demand = { ISOPOD_ISOLATION_CHECK: 'demand' };
    this.child = spawn(process.execPath, [CLI, 'serve', '--port', '0', ...words], {
      cwd,
      env: environment({ ...demand, ...env }),
      stdio: ['ignore', 'pipe', 'pipe'],
      // In a group of its own, so that the group can be signalled.
      detached: true,
    });
    this.ended = once(this.child, 'close') as Promise<[number | null, string | null]>;
    for (const stream of [this.child.stdout, this.child.stderr]) {
      if (stream !== null) createInterface(stream).on('line', (line) => this.#hear(line));
    }
  }

  #hear(line: string): void {
    if (/^(making a database|bringing the database up to date)/.test(line)) this.beginnings.push(line);
    else this.lines.push(line);
  }

  async ready(): Promise<string> {
    return await vi.waitFor(
      () => {
        expect(this.lines.at(-1)).toMatch(/^API reference: /);
        return this.lines[0]?.replace('isopod is ready at ', '') ?? '';
      },
      { timeout: 20_000 },
    );
  }

  async [Symbol.asyncDispose]() {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}

test('serve prints its URL and a curl line that works as pasted, and ends in peace', async () => {
  await using served = new Served([]);
  const url = await served.ready();
  expect(served.beginnings[0]).toBe('making a database in the data folder');
  expect(served.lines[0]).toMatch(/^isopod is ready at http:\/\/127\.0\.0\.1:\d+$/);
  expect(served.lines[1]).toBe('Plugins: 2 in plugins');
  expect(served.lines[2]).toMatch(/^Confinement: /);
  const curl = served.lines.find((line) => line.startsWith('  curl'))?.trim() ?? '';
  const answer = await new Promise<string>((resolve) =>
    execFile('/bin/sh', ['-c', curl], (_error, stdout) => resolve(stdout)),
  );
  expect(JSON.parse(answer)).toMatchObject({ output: { hello: 'world' }, logs: [{ level: 'warning' }] });
  expect((await fetch(`${url}/readyz`)).status).toBe(200);

  served.child.kill('SIGTERM');
  expect(await served.ended).toEqual([0, null]);
  expect(served.lines).toContainEqual(expect.stringMatching(/^SIGTERM: 0 running, .*; what comes is refused$/));
  expect(served.lines.at(-1)).toBe('isopod has ended');
  expect(served.lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line).code)).toEqual(['ok']);
});

test('the line that serve prints works with the examples of this repository', async () => {
  const plugins = fileURLToPath(new URL('../plugins', import.meta.url));
  await using served = new Served([], { ISOPOD_PLUGINS_DIR: plugins });
  await served.ready();
  const curl = served.lines.find((line) => line.startsWith('  curl'))?.trim() ?? '';
  const answer = await new Promise<string>((resolve) =>
    execFile('/bin/sh', ['-c', curl], (_error, stdout) => resolve(stdout)),
  );
  expect(JSON.parse(answer)).toMatchObject({ id: expect.any(String), output: expect.anything() });
});

test.each([
  ['SIGTERM', 'the service alone'],
  ['SIGINT', 'the service alone'],
  ['SIGTERM', 'its whole process group'],
  ['SIGINT', 'its whole process group'],
] as const)('%s to %s lets what runs finish, as Ctrl-C must', async (signal, to) => {
  await using served = new Served([]);
  const url = await served.ready();
  const body = JSON.stringify({ args: { wait: 1_500 } });
  const headers = { 'content-type': 'application/json' };
  const running = fetch(`${url}/v1/plugins/greet/invocations`, { method: 'POST', headers, body });
  await vi.waitFor(async () => expect(await (await fetch(`${url}/metrics`)).text()).toContain('isopod_running 1\n'));
  const pid = served.child.pid ?? 0;
  process.kill(to === 'the service alone' ? pid : -pid, signal);
  await vi.waitFor(() => expect(served.lines).toContainEqual(expect.stringMatching(/: 1 running, /)));
  expect((await fetch(`${url}/readyz`)).status).toBe(503);

  expect((await running).status).toBe(200);
  expect(await served.ended).toEqual([0, null]);
});

test('a second signal ends it at once', async () => {
  await using served = new Served([]);
  const url = await served.ready();
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify({ args: { wait: 25_000 } });
  const running = fetch(`${url}/v1/plugins/greet/invocations`, { method: 'POST', headers, body }).catch(() => 'lost');
  await vi.waitFor(async () => expect(await (await fetch(`${url}/metrics`)).text()).toContain('isopod_running 1\n'));
  served.child.kill('SIGINT');
  await vi.waitFor(() => expect(served.lines).toContainEqual(expect.stringMatching(/^SIGINT: 1 running/)));
  served.child.kill('SIGINT');
  expect(await served.ended).toEqual([null, 'SIGINT']);
  expect(await running).toBe('lost');
});

test('a port that is taken is said in a sentence', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const { port } = other.address() as AddressInfo;
  const { code, stderr } = await isopod(['serve', '--port', String(port)]);
  other.close();
  expect(stderr).toBe(
    `isopod: 127.0.0.1 port ${port} is in use already: choose another with --host, --port or isopod.yaml\n`,
  );
  expect(code).toBe(2);
});

test('a database that is down at the start is said in a sentence', async () => {
  const { code, stderr } = await isopod(['serve'], { DATABASE_URL: 'postgresql://me:secret@127.0.0.1:1/none' });
  expect([code, stderr]).toEqual([3, 'isopod: The database cannot be used: connect ECONNREFUSED 127.0.0.1:1\n']);
});

test('serve takes its settings from a file and refuses a wrong one by line', async () => {
  await writeFile(join(cwd, 'wrong.yaml'), 'host: 127.0.0.1\nlimits:\n  walMs: 5\n');
  const { code, stderr } = await isopod(['serve', '--config', 'wrong.yaml'], { ISOPOD_DRAINMS: '1' });
  await rm(join(cwd, 'wrong.yaml'));
  expect(code).toBe(2);
  expect(stderr).toMatch(/^isopod: .*wrong\.yaml:3:3: limits\.walMs is not a setting; did you mean wallMs\?/);
  expect(stderr).toContain('isopod: ISOPOD_DRAINMS is not a setting; did you mean ISOPOD_DRAIN_MS?');
});

test('what whoever started us left open does not reach a plugin', { skip: process.platform !== 'linux' }, async () => {
  const secret = join(cwd, 'plugins', 'secret');
  await writeFile(secret, 'a secret');
  // Node sees to low numbers itself.
  const code = 'import os, sys; os.dup2(os.open(sys.argv[1], 0), 99); os.execv(sys.argv[2], sys.argv[2:])';
  const child = spawn('python3', ['-c', code, secret, process.execPath, CLI, 'run', 'open'], {
    cwd,
    env: environment({}),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let told = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (told += chunk));
  await once(child, 'close');
  expect(told).toContain('0 -> ');
  expect(told).not.toContain('secret');
});

test('a backup is taken while nobody serves, and goes into an empty data folder', async () => {
  const file = join(cwd, 'kept.gz');
  {
    await using served = new Served([], { ISOPOD_DATA_DIR: join(cwd, 'from') });
    await served.ready();
    const taken = await isopod(['backup', file], { ISOPOD_DATA_DIR: join(cwd, 'from') });
    expect([taken.code, taken.stderr]).toEqual([3, expect.stringContaining('Another isopod uses the data folder')]);
  }
  const env = { ISOPOD_DATA_DIR: join(cwd, 'from') };
  await vi.waitFor(async () => expect((await isopod(['backup', file], env)).code).toBe(0), { timeout: 10_000 });
  const restored = await isopod(['restore', file], { ISOPOD_DATA_DIR: join(cwd, 'to') });
  expect([restored.code, restored.stderr]).toEqual([0, expect.stringMatching(/1 rows of .* are in the database/)]);
  const absent = await isopod(['restore', join(cwd, 'absent')], { ISOPOD_DATA_DIR: join(cwd, 'to') });
  expect([absent.code, absent.stderr]).toEqual([2, expect.stringContaining('There is no file')]);
  // A folder that is misspelt holds nothing, and a copy of nothing helps nobody.
  const nothing = await isopod(['backup', join(cwd, 'none.gz')], { ISOPOD_DATA_DIR: join(cwd, 'misspelt') });
  expect([nothing.code, nothing.stderr]).toEqual([2, expect.stringContaining('There is no database in')]);
  const other = await isopod(['restore', join(import.meta.dirname, 'cli.test.ts')], {
    ISOPOD_DATA_DIR: join(cwd, 'new'),
  });
  expect(other.stderr).toContain('is no backup of isopod');
  await Promise.all(['from', 'to', 'new', 'kept.gz'].map((one) => rm(join(cwd, one), { recursive: true })));
});
