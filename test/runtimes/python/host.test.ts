// The host of Python plugins, run for real: what it makes of each plugin in fixtures/python is read off its frames.
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { HOST, PYTHON_WITH_DJANGO, PYTHONS, PythonHost } from '../../support/python-host.ts';

test('there is a Python to try it with, and the host needs nothing but its standard library', () => {
  expect(PYTHONS.size).toBeGreaterThan(0);
  const code = `
import ast, sys
names = {one.name for node in ast.walk(ast.parse(open(sys.argv[1]).read())) if isinstance(node, ast.Import) for one in node.names}
names |= {node.module for node in ast.walk(ast.parse(open(sys.argv[1]).read())) if isinstance(node, ast.ImportFrom)}
known = getattr(sys, 'stdlib_module_names', None)
print(*sorted(name for name in names if known is not None and name.partition('.')[0] not in known), len(names) > 10)`;
  const newest = [...PYTHONS].toSorted(([a], [b]) => minor(b) - minor(a))[0]?.[1] ?? '';
  expect(execFileSync(newest, ['-c', code, HOST], { encoding: 'utf8' }).trim()).toBe('True');
});

test.each([...PYTHONS])('a plugin runs on Python %s: its values, its state, its end', async (version, python) => {
  await using values = await PythonHost.ready('returns', { python });
  expect(values.frames[0]).toMatchObject({ t: 'ready', runs: true, tasks: [], language: expect.any(String) });
  expect(values.frames[0]).toHaveProperty('language', expect.stringContaining(`Python ${version}.`));
  expect((await values.run('many')).output).toEqual({
    status: 'ok',
    result: [
      '2026-01-02T03:04:05.678000',
      '2026-01-02T00:00:00Z',
      '2026-01-02T00:00:00+02:00',
      '2026-01-02',
      '03:04:00',
      '60.5',
      0.1,
      [7],
      [1, 2],
      [0, 1, 4],
      'café',
      '00000000-0000-0000-0000-000000000005',
      [1, 2],
      { a: 'aa' },
      { b: 1, a: 2 },
      { 1: 'b', null: 'c', 1.5: 'd' },
    ],
  });
  expect((await values.run('deep')).error).toMatchObject({ kind: 'unserialisable', name: 'RecursionError' });
  expect(await values.stop()).toEqual({ t: 'stopped', called: null, error: null });

  await using waits = await PythonHost.ready('waits', { python });
  const spinning = waits.begin('spins');
  const listening = waits.begin('listens');
  await waits.until(({ t }) => t === 'progress');
  waits.send({ t: 'cancel', id: listening, how: 'ask' });
  expect(await waits.result(listening)).toMatchObject({ listens: true, output: { result: true } });
  waits.send({ t: 'cancel', id: spinning, how: 'interrupt' });
  expect(await waits.result(spinning)).toMatchObject({ error: { kind: 'cancelled', name: 'Cancelled' } });
  expect((await waits.run('counted')).output.result[0]).toBe(3);
  expect(await waits.stop()).toMatchObject({ called: 'stop', error: { name: 'ValueError' } });

  await using children = await PythonHost.ready('forks', { python });
  expect((await children.run('returns')).output).toEqual({ status: 'ok', result: 0 });
  await using shim = await PythonHost.ready('uses-application', { python, answer: () => ({ ok: ROW }) });
  expect((await shim.run('clock')).output.result[0]).toBe(true);
  expect((await shim.run('missing')).output.result[5]).toBe(false);
});

test('what a plugin returns is told as its application would, and what cannot be is said to be so', async () => {
  await using host = await PythonHost.ready('returns');
  expect((await host.run('dict')).output).toEqual({ status: 'error', message: 'as it is' });
  expect((await host.run('nothing')).output).toEqual({ status: 'ok', result: null });
  expect((await host.run('text')).output.result).toBe('ünï\u2028 \ud83d \u{1f600}');

  for (const action of ['nan', 'infinity', 'decimal nan', 'object', 'bytes', 'deque', 'aware time', 'tuple key']) {
    const { error, output } = await host.run(action);
    expect([action, error?.kind, output]).toEqual([action, 'unserialisable', undefined]);
  }
  expect((await host.run('circle')).error).toMatchObject({ kind: 'unserialisable', message: /[Cc]ircular/ as never });
  expect((await host.run('raising')).error).toMatchObject({ kind: 'unserialisable', name: 'ZeroDivisionError' });
  expect((await host.run('quitting')).error).toMatchObject({ kind: 'exit', name: 'SystemExit', message: '4' });

  const size = Buffer.byteLength(JSON.stringify({ status: 'ok', result: 'ü'.repeat(1_000) }));
  expect((await host.run('large', { outputBytes: size })).output.result).toHaveLength(1_000);
  expect((await host.run('large', { outputBytes: size - 1 })).error).toMatchObject({ kind: 'too_large', bytes: size });
});

test('what a plugin raises ends its run alone, and its traceback begins with its own code', async () => {
  await using host = await PythonHost.ready('raises');
  expect((await host.run('permission')).error).toMatchObject({ kind: 'permission', name: 'PermissionError' });

  const { error } = await host.run('division');
  expect(error).toMatchObject({ kind: 'error', name: 'ZeroDivisionError', message: 'division by zero' });
  expect(error.stack.split('\n')[1]).toMatch(/fixtures\/python\/raises\/plugin\.py", line \d+, in run$/);
  expect(error.stack).toMatch(/in divide\n[\s\S]*ZeroDivisionError: division by zero$/);
  expect(error.stack).not.toContain('host.py');

  expect((await host.run('exit')).error).toMatchObject({ kind: 'exit', name: 'SystemExit', message: '3' });
  expect((await host.run('interrupt')).error).toMatchObject({ kind: 'exit', name: 'KeyboardInterrupt' });
  expect((await host.run('own')).error).toMatchObject({ kind: 'error', name: 'Own', message: 'of my own' });
  expect((await host.run('type')).error).toMatchObject({ kind: 'error', name: 'TypeError' });
  expect((await host.run('half')).error.message).toBe('half \udc80');
  expect((await host.run('unprintable')).error).toMatchObject({ kind: 'error', name: 'Unprintable' });

  expect((await host.run('signals')).output.result).toBe('signals');
  await host.met(() => host.log.some((line) => line.includes('SystemExit was raised at a signal')));
  await host.met(() => host.log.some((line) => line.includes('KeyboardInterrupt was raised at a signal')));
  expect((await host.run('still there')).output.result).toBe('still there');
});

test('a plugin with no run, or with one that takes too little, says so in the words of its application', async () => {
  await using narrow = await PythonHost.ready('takes-too-little');
  const words = expect.stringMatching(/run\(\) takes 2 positional arguments but 4 were given$/);
  expect((await narrow.run('x')).error).toMatchObject({ kind: 'arity', name: 'TypeError', message: words });

  await using idle = await PythonHost.ready('has-no-run');
  expect(idle.frames[0]).toMatchObject({ runs: false, portrait: { name: 'Idle', fields: null } });
  const message = "Plugin 'has_no_run' has no runnable 'run' method";
  expect((await idle.run('x')).error).toMatchObject({ kind: 'missing', message });
  expect(await idle.stop()).toEqual({ t: 'stopped', called: null, error: null });
});

test('whatever a plugin writes is logged, by the run that has written it', async () => {
  await using host = await PythonHost.ready('prints');
  expect(host.log).toEqual(['null info at import']);
  host.frames.length = 0;

  await host.run('lines');
  const own = ['1 info one two', '1 info three four', '1 warning to stderr', '1 info unfinished'];
  expect(host.log).toEqual(own);
  // All of a run comes before its result.
  expect(host.frames.at(-1)?.t).toBe('result');

  await host.run('raw');
  await host.met(() => host.stray.includes('of a child'));
  expect(host.stray).toContain('raw\n{"t":"result","id":1}\n');
  expect(host.stray).toContain('buffered\n');
  expect(host.stray).toContain('the original\n');
  expect(host.log).toEqual(own);

  await host.run('records');
  const caught = '3 error caught\nTraceback (most recent call last):\n  File';
  expect(host.log.slice(4)).toEqual(['3 debug quiet 1', '3 error loud', expect.stringContaining(caught)]);

  host.frames.length = 0;
  await host.run('threads');
  const died = expect.stringMatching(/^4 error Exception in thread dying\nTraceback [\s\S]*ZeroDivisionError/);
  expect(host.log).toEqual(['4 info outer', '4 info inner', died]);

  // What goes on after its run belongs to none.
  await host.run('later');
  await host.met(() => host.log.includes('null info after the run'));

  host.frames.length = 0;
  await host.run('long');
  expect(host.log.map((line) => line.length)).toEqual(['6 info '.length + 65_537, '6 info next'.length]);

  await host.run('careless');
  expect(host.log.at(-1)).toBe('7 warning still there');
  expect((await host.run('careless')).error).toBeUndefined();
});

test('runs go on side by side, and keep what they have in memory', async () => {
  await using host = await PythonHost.ready('waits');
  const gated = host.begin('gated');
  const names = ['actions', 'logger', 'settings'];
  const actions = { go: { id: 'go', label: 'Go' } };
  const counted = (await host.run('counted', { params: [1] })).output.result;
  expect(counted).toEqual([2, [1], names, { a: 1 }, actions, 'apps.plugins.loader']);
  expect((await host.run('counted', { params: null })).output.result[1]).toEqual({});
  await host.run('open');
  expect((await host.result(gated)).output.result).toBe('opened');

  expect(await host.look()).toEqual({ threads: 0, children: 0 });
  await host.run('starts');
  expect(await host.look()).toEqual({ threads: 1, children: 1 });
  await host.run('ends');
  const stopped = await host.stop();
  expect(stopped).toMatchObject({
    called: 'stop',
    error: { kind: 'error', name: 'ValueError', message: 'not so well' },
  });
  expect(host.log).toContain("null info reload ['actions', 'logger', 'reason', 'settings']");
  // Which its own threads hear of, too.
  await host.met(() => host.log.some((line) => line.endsWith('told to stop')));
});

test('a run that is to end is asked, and then an exception is raised in it', async () => {
  await using host = await PythonHost.ready('waits');
  const listening = host.begin('listens');
  await host.until(({ t }) => t === 'progress');
  const deaf = host.begin('spins');
  await host.met(() => host.log.some((line) => line.endsWith('spinning')));
  host.send({ t: 'cancel', id: deaf, how: 'ask' });
  host.send({ t: 'cancel', id: listening, how: 'ask' });
  expect(await host.result(listening)).toMatchObject({ listens: true, output: { status: 'ok', result: true } });
  const told = host.frames.filter((frame) => frame.t === 'progress');
  expect(told.map(({ value }) => value)).toEqual([0.25, 1]);

  host.send({ t: 'cancel', id: deaf, how: 'interrupt' });
  expect(await host.result(deaf)).toMatchObject({ listens: false, error: { kind: 'cancelled' } });
  const waiting = host.begin('listens');
  host.send({ t: 'cancel', id: waiting, how: 'interrupt' });
  expect((await host.result(waiting)).error).toMatchObject({ kind: 'cancelled' });
  const leaving = host.begin('leaves');
  host.send({ t: 'cancel', id: leaving, how: 'ask' });
  expect(await host.result(leaving)).toMatchObject({
    listens: true,
    error: { kind: 'cancelled', message: 'as you wish' },
  });

  const surviving = host.begin('survives');
  await host.met(() => host.log.some((line) => line.startsWith(`${surviving} info spinning`)));
  host.send({ t: 'cancel', id: surviving, how: 'interrupt' });
  expect((await host.result(surviving)).output.result).toBe('survived');
  expect((await host.run('unasked')).error).toMatchObject({ kind: 'error', name: 'Cancelled' });

  // However often one is interrupted while it writes, every frame is whole, and there is one result of each.
  const printing = Array.from({ length: 40 }, () => host.begin('prints'));
  for (const id of printing) {
    await host.until((frame) => frame.t === 'log' && frame.run === id);
    host.send({ t: 'cancel', id, how: 'interrupt' });
    host.send({ t: 'cancel', id, how: 'interrupt' });
  }
  for (const id of printing) expect((await host.result(id)).error).toMatchObject({ kind: 'cancelled' });
  host.send({ t: 'cancel', id: 999, how: 'interrupt' });
  await host.run('counted');
  const results = host.frames.filter((frame) => frame.t === 'result').map(({ id }) => id);
  expect(new Set(results).size).toBe(results.length);
});

test('a plugin stops in whichever way it can, and nothing that it wants done at its end holds it up', async () => {
  await using plain = await PythonHost.ready('stops-without-arguments');
  expect(await plain.stop()).toEqual({ t: 'stopped', called: 'stop', error: null });
  expect(plain.log).toEqual(['null info stopped', 'null info at exit']);
  expect(plain.frames.at(-1)?.t).toBe('stopped');

  await using action = await PythonHost.ready('stops-by-action');
  expect(action.frames.at(-1)).toHaveProperty('portrait', {
    name: null,
    version: '2',
    description: null,
    author: null,
    help_url: null,
    fields: [{ id: 'a', options: [{ value: 1 }] }],
    actions: [{ id: 'stop', label: 'Stop' }],
  });
  expect(action.log).toEqual([
    expect.stringMatching(/^null error The attribute name cannot be read\.\n[\s\S]*no name$/),
  ]);
  const stop = { id: 'stop', label: 'Stop' };
  expect(await action.stop({ stop })).toEqual({ t: 'stopped', called: 'run', error: null });
  expect(action.log.at(-1)).toBe('null info stop {} reload');
});

test('a plugin is imported as its application does it', async () => {
  await using own = await PythonHost.ready('Imports_Itself');
  expect(own.frames[0]).toHaveProperty('portrait.name', '_dispatcharr_plugin_imports_itself.plugin');
  expect((await own.run('x')).output).toEqual({
    values: ['beside', 'beside', 'beside', 'deeper than beside', 'late'],
    same: true,
    initialised: false,
    host: false,
  });
  await using package_ = await PythonHost.ready('falls-back');
  expect(package_.frames[0]).toHaveProperty('portrait.name', '_dispatcharr_plugin_falls_back');
  expect((await package_.run('x')).output.result).toBe('more');
  await using reserved = await PythonHost.ready('json');
  expect((await reserved.run('x')).output.result).toEqual([1]);
});

test('code that cannot be loaded ends the process, and says why', async () => {
  const twice = await PythonHost.failing('fails-twice');
  expect(twice).toMatchObject({ kind: 'error', name: 'LookupError', message: 'of the package' });
  expect(twice.stack.split('\n')[1]).toContain('fails-twice/__init__.py"');
  expect(await PythonHost.failing('has-no-class')).toMatchObject({ kind: 'missing', message: 'No Plugin class found' });
  expect(await PythonHost.failing('exits-at-import')).toMatchObject({ kind: 'exit', message: '5' });
  expect(await PythonHost.failing('wants-arguments')).toMatchObject({ kind: 'error', name: 'TypeError' });
  const without = await PythonHost.failing('wants-application', { shim: 'off' });
  expect(without).toMatchObject({ name: 'ModuleNotFoundError', message: "No module named 'version'" });
});

test('what a plugin forks has no way to the wire, and ends where the code of the plugin does', async () => {
  await using host = await PythonHost.ready('forks');
  expect((await host.run('returns')).output.result).toBe(0);
  expect((await host.run('exits')).output.result).toBe(7);
  expect((await host.run('raises')).output.result).toBe(1);
  expect((await host.run('multiplies')).output.result).toEqual(['put', 0]);
  await host.met(() => host.stray.includes('of multiprocessing\n'));
  expect(host.stray).toMatch(
    /of a fork\nof its logger\nTraceback [\s\S]*ValueError: in the child\nof multiprocessing\n$/,
  );
  expect(host.log).toEqual([]);
  expect(host.frames.filter(({ t }) => t === 'result')).toHaveLength(4);
});

const ROW = {
  key: 'uses_application',
  name: 'Uses',
  version: '1',
  description: 'It',
  enabled: true,
  everEnabled: true,
  settings: { a: 1 },
};

test('what stands in for its application does what it says, and refuses everything else', async () => {
  const asked: object[] = [];
  await using host = await PythonHost.ready('uses-application', {
    answer(ask) {
      const { t: _, id: __, ...what } = ask;
      if (ask.what === 'config') return { ok: ROW };
      asked.push(what);
      if (ask.what === 'configure') return 'no' in ask.settings ? { error: 'Not so' } : { ok: null };
      return ask.args[0] === 'refuse' ? { error: 'Too many jobs' } : { ok: `job ${asked.length}` };
    },
  });
  const tasks = ['_dispatcharr_plugin_uses_application.plugin.plain', 'named'];
  expect(host.frames.find(({ t }) => t === 'ready')).toMatchObject({ tasks });
  expect(host.log).toEqual([expect.stringMatching(/^null warning shared_task\(named\): time_limit has no effect/)]);
  const nothing = /: this host is not Dispatcharr and does not have it; nothing was done$/;

  expect((await host.run('versions')).output.result).toEqual(['0.31.0', { a: 1 }]);
  expect((await host.run('row')).output).toEqual({
    row: ['uses_application', 'Uses', '1', 'It', true, true, { a: 1 }, false],
    rows: [true, 'uses_application', 1, false, null],
    other: 'DoesNotExist: PluginConfig matching query does not exist.',
    'is its own': true,
    lookup: expect.stringMatching(nothing),
    all: expect.stringMatching(nothing),
  });
  const saved = await host.run('saves');
  expect(saved.output.result).toEqual([
    'PermissionError: A plugin changes its settings alone, not enabled; nothing was saved',
    true,
    'PermissionError: A plugin changes its settings alone, not slug; nothing was saved',
  ]);
  expect(asked.splice(0)).toEqual([
    { run: 3, what: 'configure', settings: { a: 1, b: 2 } },
    { run: 3, what: 'configure', settings: { c: 3 } },
  ]);
  expect((await host.run('refused')).output.result).toBe('RuntimeError: Not so');
  asked.length = 0;

  expect((await host.run('updates')).output.result).toMatch(/^TypeError: object is not JSON/);
  const update = { t: 'update', run: 5, group: 'updates', event: 'update', data: { at: '2026-01-02T00:00:00' } };
  expect(host.frames.filter(({ t }) => t === 'update')).toEqual([update]);

  expect((await host.run('delays')).output).toEqual({
    direct: [2, 'named'],
    delay: 'job 1',
    async: 'job 2',
    signature: 'job 3',
    immutable: 'job 4',
    eta: 'job 5',
    'not JSON': expect.stringMatching(/^TypeError: The arguments of task .*plain must be JSON: /),
    refused: 'RuntimeError: Too many jobs',
    missing: expect.stringMatching(nothing),
    result: expect.stringMatching(nothing),
  });
  const plain = { run: 6, what: 'enqueue', task: tasks[0], args: [1], kwargs: {}, delayMs: 0 };
  expect(asked.slice(0, 5)).toEqual([
    { ...plain, kwargs: { b: 2 } },
    { ...plain, task: 'named', delayMs: 1_500 },
    { ...plain, args: [4], kwargs: { b: 3 } },
    { ...plain, args: [5] },
    { ...plain, args: [6], delayMs: expect.closeTo(3_600_000, -5) },
  ]);
  expect((await host.task(tasks[0] ?? '', [1], { b: 5 })).output).toEqual({ status: 'ok', result: 6 });
  expect((await host.task('named', ['x'])).output).toEqual({ self: 'named', args: ['x'], request: '8' });
  expect((await host.task('named', [], { no: 1 })).error).toMatchObject({ kind: 'arity' });
  expect((await host.task('other', [])).error).toMatchObject({ kind: 'unknown_task' });

  expect((await host.run('database')).output.result).toEqual([['one', 'two', 'three'], expect.stringMatching(nothing)]);
  expect((await host.run('clock')).output.result).toEqual([
    true,
    '2026-01-02T00:00:00Z',
    '2026-01-02T00:00:00',
    true,
    'ValueError: localtime() cannot be applied to a naive datetime',
  ]);
  const missing: unknown[] = (await host.run('missing')).output.result;
  expect(missing.pop()).toBe(false);
  const names = ['apps.channels', 'core.utils.RedisClient', 'django.db.models', 'django.conf', 'celery.schedules'];
  for (const [at, name] of names.entries()) {
    expect(missing[at]).toMatch(`ModuleNotFoundError: No module named '${name}': `);
    expect(missing[at]).toMatch(nothing);
  }
});

test.skipIf(PYTHON_WITH_DJANGO === undefined)('where Django is, it is set up before the plugin is loaded', async () => {
  const PYTHONPATH = resolve(import.meta.dirname, '../../fixtures/python/django-project');
  const options = { python: PYTHON_WITH_DJANGO, settingsModule: 'project_settings', environment: { PYTHONPATH } };
  await using host = await PythonHost.ready('uses-django', options);
  expect(host.frames[0]).toHaveProperty('portrait.name', 'Lazy');
  const { output } = await host.run('x');
  expect(output).toEqual({ ready: true, mark: 'of the project', lazy: 'text', two: 2 });
  expect(host.log).toEqual(['1 info of the plugin']);

  const failed = await PythonHost.failing('uses-django', { ...options, settingsModule: 'no_settings' });
  expect(failed).toMatchObject({ name: 'ModuleNotFoundError', message: "No module named 'no_settings'" });
});

test('the host ends with whom it belongs to, and passes over what is no frame', async () => {
  await using host = await PythonHost.ready('waits');
  host.send('no frame\n[1]\n{"t":"other"}\n{"t":"run"}\n');
  await host.met(() => host.log.length === 4);
  expect(host.log.every((line) => line.startsWith('null error '))).toBe(true);
  expect((await host.run('counted')).output.result[0]).toBe(1);
  host.begin('spins');
  host.hangUp();
  expect(await host.exited).toBe(0);
});

function minor(version: string): number {
  return Number(version.split('.')[1]);
}
