import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { identityOf } from '../src/confinement/identity.ts';
import { startTestService, writePlugin } from './support/service.ts';

const embedded = {
  'greet.yml': 'name: Greet\ninterface: js\nexec: [greet.js]\ntasks: [{name: Greet, defaultArgs: {who: world}}]\n',
  'greet.js':
    'log.Info("to " + input.Args.who); log.Progress(0.5); ({Output: {hello: input.Args.who, args: input.Args}});',
};
const script = {
  'count.yml': 'name: Count\ninterface: raw\nexec: ["{pluginDir}/count.sh"]\ntasks: [{name: Count}]\n',
  'count.sh': '#!/bin/sh\nprintf "\\001i\\002counting\\n" >&2\necho \'{"output": 3}\'\n',
};

test('real plugins, embedded and external, run over HTTP', async () => {
  await using service = await startTestService({
    plugins: {
      greet: embedded,
      count: { ...script, 'count.yml': script['count.yml'].replace('"{pluginDir}/count.sh"', 'count.sh') },
    },
    config: { isolation: { check: 'start' } },
  });
  const js = await service.invoke('greet', { task: 'Greet', args: { more: [1] } }, '?include=logs');
  expect(js.body).toMatchObject({ output: { hello: 'world', args: { who: 'world', more: [1] } }, progress: 0.5 });
  expect(js.body.logs).toMatchObject([{ level: 'info', message: '[Plugin / Greet] to world' }]);

  const raw = await service.invoke('count', { task: 'Count' }, '?include=logs');
  expect(raw.body).toMatchObject({ output: 3, logs: [{ level: 'info', message: '[Plugin / Count] counting' }] });

  const held = (await service.get('/v1/system/isolation')).body;
  for (const kind of [held.processes, held.executors]) expect(Date.parse(kind.checkedAt)).toBeGreaterThan(0);
  expect(raw.headers.get('isopod-isolation')).toBe(held.processes.grade);
  expect(js.headers.get('isopod-isolation')).toBe(held.executors.grade);
  expect(service.log()[0].msg).toContain(`executors ${held.executors.grade}`);

  const { body } = await service.get('/v1/plugins/count');
  expect(body.explain).toMatchObject({ runtime: 'process', way: expect.any(String), because: expect.any(String) });
  const key = await service.service.parts.store.key('identity');
  const user = process.getuid?.() === 0 ? `as user ${identityOf(key, 'default', 'count')}` : '';
  expect(body.explain.because).toContain(user);
  expect((await service.get('/readyz')).status).toBe(200);
  expect((await service.get('/metrics')).text).toMatch(/^isopod_runtime\{what="executors"\} [1-9]/m);
});

test('external programs get the variables and the fence that the configuration says', async () => {
  const plugins = { env: { 'env.yml': 'name: Env\nexec: [env.sh]\n', 'env.sh': '#!/bin/sh\necho "$COLOUR$$"\n' } };
  const processes = { environment: { COLOUR: 'blue' } } as const;
  const isolation = { tier: 'process-group' } as const;
  await using service = await startTestService({ plugins, config: { processes, isolation } });
  // A number of the machine's, not one of a namespace of its own.
  expect((await service.invoke('env')).body.output).toMatch(/^blue\d{3,}\s*$/);
  expect((await service.get('/v1/plugins/env')).body.explain.way).toContain('process-group');
});

test('arguments named like parts of an object reach an embedded plugin as they are', async () => {
  await using service = await startTestService({ plugins: { greet: embedded } });
  const { text } = await service.invoke(
    'greet',
    '{"args":{"__proto__":{"x":1},"constructor":{"prototype":{}},"who":"me"}}',
  );
  expect(JSON.stringify(JSON.parse(text).output.args)).toBe(
    '{"__proto__":{"x":1},"constructor":{"prototype":{}},"who":"me"}',
  );
});

test('the folder is read again on request, and refused manifests are listed with line and column', async () => {
  await using service = await startTestService({ plugins: { greet: embedded } });
  await writePlugin(join(service.folder, 'plugins/stash/count'), script);
  await writePlugin(join(service.folder, 'plugins/stash/bad'), { 'bad.yml': 'name: Bad\nfoo: 1\n' });
  expect((await service.invoke('count')).status).toBe(404);

  const { body } = await service.fetch('/v1/plugins/reload', { method: 'POST' });
  expect(body).toMatchObject({ plugins: 2, refused: 1, added: ['count'], changed: [], removed: [] });
  expect((await service.invoke('bad')).body.detail).toMatch(
    /its manifest was refused \(stash\/bad\/bad\.yml:2:1\): .*foo/,
  );
  const list = (await service.get('/v1/plugins')).body;
  expect(list.refused).toMatchObject([{ file: 'stash/bad/bad.yml', line: 2, reason: expect.stringContaining('foo') }]);

  await writePlugin(join(service.folder, 'plugins/stash/greet'), { 'greet.js': '({Output: "mended"})' });
  const again = (await service.fetch('/v1/plugins/reload', { method: 'POST' })).body;
  expect(again.changed).toEqual(['greet']);
  expect((await service.invoke('greet', { task: 'Greet' })).body.output).toBe('mended');
});

test('a plugin that asks for an application where none is configured is told which setting to set', async () => {
  const asks = { ...embedded, 'greet.js': 'gql.Do("query { findScenes { count } }"); ({Output: 1});' };
  await using service = await startTestService({ plugins: { greet: asks } });
  const { status, text } = await service.invoke('greet');
  expect(status).toBe(502);
  expect(text).toContain('ISOPOD_APPLICATION_URL');
});

test('limits of a plugin and of a call end a run, and the canary beside it runs on', async () => {
  const spin = { ...embedded, 'greet.js': 'for (;;) {}' };
  const patient = {
    'canary.yml': 'name: Canary\ninterface: js\nexec: [canary.js]\n',
    'canary.js': '({Output: "alive"})',
  };
  await using service = await startTestService({ plugins: { greet: spin, canary: patient } });
  const stuck = service.invoke('greet', { limits: { wallMs: 300, cpuMs: 5_000 } });
  expect((await service.invoke('canary')).body.output).toBe('alive');
  const { status, body } = await stuck;
  expect([status, body.code, body.limit.name]).toEqual([504, 'plugin_timeout', 'wallMs']);
});

test('the folder that stands for the host belongs to the tenant and lies below the data folder', async () => {
  const shows = { ...embedded, 'greet.js': '({Output: input.ServerConnection})' };
  await using service = await startTestService({ plugins: { greet: shows } });
  const { output } = (await service.invoke('greet')).body;
  expect(output.Dir).toBe(join(service.config.dataDir, 'tenants', 'default'));
  expect(existsSync(output.Dir)).toBe(true);
  // Not where callers ask: there is a door for plugins alone.
  expect(output).toMatchObject({ Scheme: 'http', Host: '127.0.0.1' });
  expect(`http://127.0.0.1:${output.Port}`).not.toBe(service.url);
  expect((await fetch(`http://127.0.0.1:${output.Port}/graphql`)).status).toBe(401);
  expect(output.PluginDir).toBe(join(service.config.pluginsDir, 'stash', 'greet'));
});
