// Stash's GraphQL as its clients ask it: a real service, real plugins, a real socket.
import { strict as assert } from 'node:assert';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { numberOfJob } from '../../../src/core/job-number.ts';
import type { TestService } from '../../support/client.ts';
import { startTestService } from '../../support/service.ts';
import { dataOf, graphql } from '../../support/stash.ts';

function js(id: string, code: string, more = ''): Record<string, string> {
  return { [`${id}.yml`]: `name: Plugin ${id}\ninterface: js\nexec: [${id}.js]\n${more}`, [`${id}.js`]: code };
}

const ASK = `const ask = (query, variables) => gql.Do(query, variables);\n`;

let service: TestService & { folder: string };
beforeAll(async () => {
  service = await startTestService({
    plugins: {
      add: js(
        'add',
        'log.Info("adds"); ({ Output: { sum: input.Args.a + input.Args.b, type: typeof input.Args.a, args: input.Args } });',
        [
          'description: adds',
          'url: https://example.com/add',
          'version: "1.10"',
          'tasks: [{name: Add, description: both, defaultArgs: {a: x, b: y}}, {name: Twice}]',
          'hooks: [{name: H, description: d, triggeredBy: [Scene.Create.Post, Scene.Update.Post]}]',
          'settings: {z: {type: NUMBER, displayName: Z}, a: {type: BOOLEAN}}',
          'ui: {requires: [other], javascript: [a.js, "https://cdn.example/x.js"]}',
        ].join('\n'),
      ),
      other: js('other', '1;'),
      fail: js('fail', '({ Error: "no\\u0000pe" });'),
      thrower: js('thrower', 'throw new TypeError("thrown");'),
      off: js('off', '1;', 'tasks: [{name: Off}]\n'),
      nil: js('nil', 'undefined;'),
      loop: js('loop', 'for (;;);'),
      wait: js('wait', 'log.Info("waits"); log.Progress(0.25); util.Sleep(60000);', 'tasks: [{name: Wait}]\n'),
      'settings-of': js(
        'settings-of',
        `${ASK}({ Output: ask('{ configuration { plugins general { apiKey } } plugins { id } }') });`,
      ),
      setter: js(
        'setter',
        `${ASK}({ Output: ask('mutation ($id: ID!, $input: Map!) { configurePlugin(plugin_id: $id, input: $input) }', input.Args) });`,
      ),
      queuer: js(
        'queuer',
        `${ASK}({ Output: ask('mutation ($n: Map) { runPluginTask(plugin_id: "add", task_name: "Add", args_map: $n) }', { n: { a: 1, b: 2 } }) });`,
      ),
      caller: js(
        'caller',
        `${ASK}let inner;
        try { inner = ask('mutation { runPluginOperation(plugin_id: "caller") }').runPluginOperation; } catch (error) { inner = [String(error)]; }
        ({ Output: [...inner, 'called'] });`,
      ),
      hooked: js(
        'hooked',
        '({ Output: input.Args.hookContext });',
        'hooks: [{name: One, triggeredBy: [Tag.Merge.Post]}, {name: Two, triggeredBy: [Tag.Merge.Post]}]\n',
      ),
      failing: js('failing', '({ Error: "nope" });', 'hooks: [{name: Fails, triggeredBy: [Tag.Merge.Post]}]\n'),
      teller: js('teller', `${ASK}({ Output: ask('mutation { runHooks(type: "Tag.Merge.Post") { id } }') });`),
      trusted: js('trusted', `${ASK}({ Output: ask('mutation { reloadPlugins }') });`),
      busy: js('busy', `${ASK}({ Output: ask('mutation { reloadPlugins }') });`),
    },
    config: { plugins: { trusted: { scope: 'manage' } }, limits: { cpuMs: 1_000 }, hooks: { depth: 12 } },
  });
});
afterAll(() => service[Symbol.asyncDispose]());

const data = (query: string, variables: Record<string, unknown> = {}) => dataOf(service, query, { variables });

async function errorOf(query: string, variables: Record<string, unknown> = {}) {
  const { body } = await graphql(service, query, { variables });
  assert(body.errors?.length === 1, JSON.stringify(body));
  return { message: body.errors[0].message, code: body.errors[0].extensions?.code };
}

async function ended(id: string) {
  return await vi.waitFor(
    async () => {
      const { findJob } = await data(
        'query ($id: ID!) { findJob(input: { id: $id }) { id status error description progress subTasks startTime endTime addTime } }',
        { id },
      );
      assert(!['READY', 'RUNNING', 'STOPPING'].includes(findJob.status), findJob.status);
      return findJob;
    },
    { timeout: 15_000, interval: 20 },
  );
}

const runTask = async (plugin: string, more: Record<string, unknown> = {}): Promise<string> =>
  (
    await data(
      'mutation ($plugin: ID!, $task: String, $words: String, $map: Map) { runPluginTask(plugin_id: $plugin, task_name: $task, description: $words, args_map: $map) }',
      { plugin, ...more },
    )
  ).runPluginTask;

test('plugins are shown with all that their manifests say', async () => {
  const { plugins } = await data(`{ plugins {
    id name description url version enabled requires paths { javascript css }
    tasks { name description plugin { id } } hooks { name description hooks plugin { id } }
    settings { name display_name description type }
  } }`);
  const byId = new Map(plugins.map((one: { id: string }) => [one.id, one]));
  expect(byId.get('add')).toEqual({
    id: 'add',
    name: 'Plugin add',
    description: 'adds',
    url: 'https://example.com/add',
    version: '1.10',
    enabled: true,
    requires: ['other'],
    paths: { javascript: ['https://cdn.example/x.js', `${service.url}/plugin/add/javascript`], css: null },
    tasks: [
      { name: 'Add', description: 'both', plugin: { id: 'add' } },
      { name: 'Twice', description: '', plugin: { id: 'add' } },
    ],
    hooks: [{ name: 'H', description: 'd', hooks: ['Scene.Create.Post', 'Scene.Update.Post'], plugin: { id: 'add' } }],
    settings: [
      { name: 'a', display_name: '', description: '', type: 'BOOLEAN' },
      { name: 'z', display_name: 'Z', description: '', type: 'NUMBER' },
    ],
  });
  expect(byId.get('other')).toMatchObject({ tasks: null, hooks: null, requires: null, settings: [] });
});

test('a task is a job with a number, and found by it until it is forgotten', async () => {
  const id = await runTask('add', { task: 'Add', map: { a: 1, b: 2 }, words: 'both numbers' });
  expect(id).toMatch(/^\d{13,16}$/);
  const job = await ended(id);
  expect(job).toMatchObject({ id, status: 'FINISHED', error: null, progress: 0, subTasks: null });
  expect(job.description).toBe('Running plugin task: both numbers');
  for (const time of [job.addTime, job.startTime, job.endTime]) expect(new Date(time).toISOString()).toBe(time);
  const [kept] = (await service.get('/v1/jobs?plugin=add&limit=1')).body.jobs;
  expect((await service.get(`/v1/jobs/${kept.id}`)).body.output).toEqual({
    sum: 3,
    type: 'number',
    args: { a: 1, b: 2 },
  });
  expect((await ended(await runTask('add', { task: 'Twice' }))).description).toBe('Running plugin task: Twice');
  expect((await ended(await runTask('add'))).description).toBe('Running plugin task: add');
});

test('jobs that are made at once have numbers of their own', async () => {
  const ids = await Promise.all(Array.from({ length: 60 }, () => runTask('nil')));
  expect(new Set(ids).size).toBe(60);
  for (const id of ids) expect((await ended(id)).id).toBe(id);
});

test('the old form of arguments says the type of each', async () => {
  const args = [
    { key: 'a', value: { i: 1 } },
    { key: 'b', value: { f: 1.5 } },
    { key: 's', value: { str: '' } },
    { key: 't', value: { b: false } },
    { key: 'n' },
    { key: 'o', value: { o: [{ key: 'x', value: { a: [{ i: 1 }, { str: 'y' }] } }] } },
  ];
  const asked = 'mutation ($args: [PluginArgInput!]) { runPluginTask(plugin_id: "add", args: $args) }';
  await ended((await data(asked, { args })).runPluginTask);
  const [kept] = (await service.get('/v1/jobs?plugin=add&limit=1')).body.jobs;
  expect((await service.get(`/v1/jobs/${kept.id}`)).body.args).toEqual({
    a: 1,
    b: 1.5,
    s: '',
    t: false,
    n: null,
    o: { x: [1, 'y'] },
  });
});

test('a task of an unknown or disabled plugin, or an unknown task, is a job that fails with the reason', async () => {
  await data('mutation { setPluginsEnabled(enabledMap: { off: false }) }');
  const cases: [string, Record<string, unknown>, RegExp][] = [
    ['nobody', {}, /There is no plugin "nobody"/],
    ['off', { task: 'Off' }, /Plugin "off" is disabled/],
    ['add', { task: 'Nothing' }, /has no task "Nothing"/],
  ];
  for (const [plugin, more, error] of cases) {
    const job = await ended(await runTask(plugin, more));
    expect([job.status, error.test(job.error), job.error]).toEqual(['FAILED', true, job.error]);
  }
  const { plugins, pluginTasks } = await data('{ plugins { id enabled } pluginTasks { name plugin { id enabled } } }');
  expect(plugins.find(({ id }: { id: string }) => id === 'off')).toEqual({ id: 'off', enabled: false });
  expect(pluginTasks.map(({ name }: { name: string }) => name)).toEqual(['Add', 'Twice', 'Wait']);
  await data('mutation { setPluginsEnabled(enabledMap: { off: true }) }');
  expect((await data('{ pluginTasks { name } }')).pluginTasks).toHaveLength(4);
});

test('an error that a plugin answers is seen on its job, which has finished', async () => {
  expect(await ended(await runTask('fail'))).toMatchObject({ status: 'FINISHED', error: 'nope' });
  expect(await ended(await runTask('thrower'))).toMatchObject({ status: 'FINISHED', error: 'TypeError: thrown' });
  const slow = await ended(await runTask('loop'));
  expect([slow.status, slow.error]).toEqual(['FAILED', expect.stringMatching(/processor time|cpu/i)]);
});

test('an operation answers at once, whatever JSON it is', async () => {
  const run = 'mutation ($id: ID!, $args: Map) { runPluginOperation(plugin_id: $id, args: $args) }';
  const args = { a: 3, b: 0.5, deep: { list: [1, null, { x: true }] } };
  expect((await data(run, { id: 'add', args })).runPluginOperation).toEqual({ sum: 3.5, type: 'number', args });
  expect((await data(run, { id: 'nil' })).runPluginOperation).toBeNull();
  const literal =
    'mutation { runPluginOperation(plugin_id: "add", args: { a: 1, b: 2.5, c: [true, null, "x", WORD] }) }';
  expect((await data(literal)).runPluginOperation.args).toEqual({ a: 1, b: 2.5, c: [true, null, 'x', 'WORD'] });
  expect(await errorOf(run, { id: 'fail' })).toEqual({ message: 'nope', code: 'plugin_error' });
  expect(await errorOf(run, { id: 'nobody' })).toMatchObject({ code: 'not_found' });
});

test('an operation ends when its caller goes away', async () => {
  const gone = new AbortController();
  const asked = fetch(`${service.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: 'mutation { runPluginOperation(plugin_id: "wait") }' }),
    signal: gone.signal,
  }).catch(() => {});
  await vi.waitFor(() => expect(service.service.running).toBe(1));
  gone.abort();
  await asked;
  await vi.waitFor(() => expect(service.service.running).toBe(0), { timeout: 5_000 });
  expect(service.log().findLast((one) => one.plugin === 'wait')).toMatchObject({ code: 'cancelled' });
});

test('settings are set as a whole, whatever is declared, and shown of plugins that have some', async () => {
  const configure = 'mutation ($id: ID!, $input: Map!) { configurePlugin(plugin_id: $id, input: $input) }';
  const first = { a: true, list: [1.5, { x: null }], word: 'w' };
  expect((await data(configure, { id: 'add', input: first })).configurePlugin).toEqual(first);
  expect((await data(configure, { id: 'add', input: { n: 2 } })).configurePlugin).toEqual({ n: 2 });
  await data(configure, { id: 'other', input: { o: 1 } });
  await data(configure, { id: 'nil', input: {} });
  const all = '{ configuration { plugins one: plugins(include: ["other", "nil", "nobody"]) } }';
  expect((await data(all)).configuration).toEqual({
    plugins: { add: { n: 2 }, other: { o: 1 } },
    one: { other: { o: 1 } },
  });
  expect((await errorOf(configure, { id: 'nobody', input: {} })).code).toBe('not_found');
  for (const input of [{ a: '\u0000' }, { '\u0000': 1 }, { a: ['\ud800'] }, { a: 'x'.repeat(65_537) }]) {
    expect((await errorOf(configure, { id: 'add', input })).code).toBe('invalid_request');
  }
  const large = Object.fromEntries(Array.from({ length: 5 }, (_, i) => [`k${i}`, 'x'.repeat(60_000)]));
  expect((await errorOf(configure, { id: 'add', input: large })).code).toBe('payload_too_large');
  expect((await data('{ configuration { plugins(include: "add") } }')).configuration.plugins).toEqual({
    add: { n: 2 },
  });
});

test('a plugin sees and sets its own settings, and nobody else’s unless an operator allows it', async () => {
  const configure = 'mutation ($id: ID!, $input: Map!) { configurePlugin(plugin_id: $id, input: $input) }';
  await data(configure, { id: 'settings-of', input: { mine: 1 } });
  await data(configure, { id: 'other', input: { secret: 1 } });
  const run = 'mutation ($id: ID!, $args: Map) { runPluginOperation(plugin_id: $id, args: $args) }';
  const seen = (await data(run, { id: 'settings-of' })).runPluginOperation;
  expect(seen.configuration.plugins).toEqual({ 'settings-of': { mine: 1 } });
  expect(seen.configuration.general.apiKey).not.toBe('');
  expect(seen.plugins.length).toBeGreaterThan(5);
  const own = await data(run, { id: 'setter', args: { id: 'setter', input: { x: 1 } } });
  expect(own.runPluginOperation).toEqual({ configurePlugin: { x: 1 } });
  const foreign = await errorOf(run, { id: 'setter', args: { id: 'other', input: {} } });
  expect(foreign.message).toMatch(/may not set the settings of plugin \\?"other\\?".*plugins\.setter\.scope: manage/);
  expect((await errorOf(run, { id: 'busy' })).message).toMatch(/may not reload plugins/);
  expect((await data(run, { id: 'trusted' })).runPluginOperation).toEqual({ reloadPlugins: true });
});

test('a task that a plugin starts says so in what is kept of it', async () => {
  const run = 'mutation { runPluginOperation(plugin_id: "queuer") }';
  const id = (await data(run)).runPluginOperation.runPluginTask;
  expect(await ended(id)).toMatchObject({ id, status: 'FINISHED' });
  const [kept] = (await service.get('/v1/jobs?plugin=add&limit=1')).body.jobs;
  const { body } = await service.get(`/v1/jobs/${kept.id}`);
  expect(body.cause).toMatchObject({ plugin: 'queuer', invocation: expect.stringMatching(/^[0-9a-f-]{36}$/) });
});

test('plugins that call each other in a circle come to an end, with the chain named', async () => {
  const [refusal, ...calls] = (await data('mutation { runPluginOperation(plugin_id: "caller") }')).runPluginOperation;
  expect(refusal).toMatch(/set each other off too often: caller \(operation\) → caller \(operation\)/);
  expect(refusal).toMatch(/hook_loop/);
  // The first was nobody's.
  expect(calls).toHaveLength(13);
});

test('an event runs the hooks that it sets off, and tells what came of each', async () => {
  const tell = `mutation ($type: String!, $input: Any) {
    runHooks(type: $type, id: 7, input: $input, inputFields: ["name"]) { id omitted held hooks { plugin hook status output error invocation } }
  }`;
  const { runHooks } = await data(tell, { type: 'Tag.Merge.Post', input: { id: '7', name: 'x' } });
  const hookContext = { id: 7, type: 'Tag.Merge.Post', input: { id: '7', name: 'x' }, inputFields: ['name'] };
  const invocation = expect.stringMatching(/^[0-9a-f-]{36}$/);
  expect(runHooks).toEqual({
    id: expect.stringMatching(/^[0-9a-f-]{36}$/),
    omitted: 0,
    held: null,
    hooks: [
      { plugin: 'failing', hook: 'Fails', status: 'FAILED', output: null, error: 'nope', invocation },
      { plugin: 'hooked', hook: 'One', status: 'RAN', output: hookContext, error: null, invocation },
      { plugin: 'hooked', hook: 'Two', status: 'RAN', output: hookContext, error: null, invocation },
    ],
  });
  expect((await data(tell, { type: 'Nothing.Post' })).runHooks.hooks).toEqual([]);
  expect((await errorOf(tell, { type: '' })).code).toBe('invalid_request');
  const told = await errorOf('mutation { runPluginOperation(plugin_id: "teller") }');
  expect(told.message).toMatch(/A plugin does not tell what has happened/);
  const chained = await graphql(service, tell, {
    variables: { type: 'x' },
    headers: { 'isopod-hook-chain': 'forged' },
  });
  expect([chained.status, chained.body.code]).toEqual([400, 'invalid_request']);
});

test('an event of a tenant that has its hooks paused is kept', async () => {
  await service.ask('PATCH', '/v1/hooks', { body: { paused: true } });
  const tell = 'mutation { runHooks(type: "Tag.Merge.Post") { held hooks { hook } } }';
  expect((await data(tell)).runHooks).toEqual({ held: 'paused', hooks: [] });
  await service.ask('PATCH', '/v1/hooks', { body: { paused: false } });
  await vi.waitFor(async () => {
    const { jobs } = (await service.get('/v1/jobs?plugin=hooked')).body;
    expect(jobs.map(({ state }: { state: string }) => state)).toEqual(['succeeded', 'succeeded']);
    const { findJob } = await data('query ($id: ID!) { findJob(input: { id: $id }) { description } }', {
      id: String(numberOfJob(jobs[0].id)),
    });
    expect(findJob.description).toBe('Running plugin hook: hooked (Tag.Merge.Post)');
  }, 10_000);
  expect((await data('{ jobQueue { id } }')).jobQueue).toBeNull();
});

test('the queue has what waits and runs, and is null when there is nothing', async () => {
  await vi.waitFor(async () => expect((await data('{ jobQueue { id } }')).jobQueue).toBeNull());
  const running = await runTask('wait', { task: 'Wait', words: 'the "first" one\\' });
  await vi.waitFor(async () =>
    expect((await data('{ jobQueue { status progress } }')).jobQueue).toEqual([{ status: 'RUNNING', progress: 0.25 }]),
  );
  await service.ask('POST', '/v1/jobs', { body: { plugin: 'add', delayMs: 3_600_000 } });
  const { jobQueue } = await data('{ jobQueue { id status description startTime } }');
  expect(jobQueue).toMatchObject([
    { id: running, status: 'RUNNING', description: 'Running plugin task: the "first" one\\' },
    { status: 'READY', description: 'Running plugin task: add', startTime: null },
  ]);
  const stop = 'mutation ($id: ID!) { stopJob(job_id: $id) }';
  expect((await data(stop, { id: running })).stopJob).toBe(true);
  expect(await ended(running)).toMatchObject({ status: 'CANCELLED', error: null });
  expect((await data(stop, { id: running })).stopJob).toBe(true);
  expect((await data('mutation { stopAllJobs }')).stopAllJobs).toBe(true);
  expect(await ended(jobQueue[1].id)).toMatchObject({ status: 'CANCELLED' });
  expect((await data('{ jobQueue { id } }')).jobQueue).toBeNull();
});

test('numbers that no job has are no error, and what is no number is one', async () => {
  const find = 'query ($id: ID!) { findJob(input: { id: $id }) { id } }';
  const stop = 'mutation ($id: ID!) { stopJob(job_id: $id) }';
  for (const id of ['7', '281474976710656000', '9007199254740991', '2000000000000']) {
    expect([id, (await data(stop, { id })).stopJob]).toEqual([id, true]);
  }
  for (const id of ['7', '9007199254740991', '2000000000000']) expect((await data(find, { id })).findJob).toBeNull();
  for (const id of ['', 'x', '-1', '1.5', '1e9', '0x1']) {
    expect([id, (await errorOf(stop, { id })).code]).toEqual([id, 'invalid_request']);
    expect([id, (await errorOf(find, { id })).code]).toEqual([id, 'invalid_request']);
  }
});

test('the newest lines of plugins are first, with their names before them, and errors among them', async () => {
  await data('mutation { a: runPluginOperation(plugin_id: "add", args: { a: 1, b: 1 }) }');
  await graphql(service, 'mutation { runPluginOperation(plugin_id: "fail") }');
  const { logs } = await data('{ logs { time level message } }');
  expect(logs.length).toBeLessThanOrEqual(30);
  expect(logs[0]).toMatchObject({ level: 'Error', message: 'Plugin returned error: nope' });
  expect(logs[1]).toMatchObject({ level: 'Info', message: '[Plugin / Plugin add] adds' });
  const times = logs.map(({ time }: { time: string }) => Date.parse(time));
  expect(times.slice(0, 2)).toEqual([...times.slice(0, 2)].sort((one, other) => other - one));
});

test('a job is heard while it runs, and each of its lines once', async () => {
  const lines = async () =>
    (await data('{ logs { message } }')).logs.filter(({ message }: { message: string }) => message.endsWith('waits'))
      .length;
  const before = await lines();
  const id = await runTask('wait');
  await vi.waitFor(async () => expect(await lines()).toBe(before + 1));
  await data('mutation ($id: ID!) { stopJob(job_id: $id) }', { id });
  await ended(id);
  expect(await lines()).toBe(before + 1);
});

test('who has no application is told our version, and the key of nobody', async () => {
  const { version, configuration } = await data(
    '{ version { version hash build_time } configuration { general { apiKey } } }',
  );
  expect(version).toEqual({ version: expect.stringMatching(/^v\d+\.\d+\.\d+$/), hash: 'isopod', build_time: '' });
  expect(configuration.general.apiKey).toBe('');
  expect((await errorOf('mutation { generateAPIKey(input: { clear: true }) }')).code).toBe('forbidden');
});

test('what is no query of this schema is 422 and says why', async () => {
  for (const query of ['{', '{ plugins { nothing } }', '{ plugins }']) {
    const { status, body } = await graphql(service, query);
    expect([query, status, body.errors.length > 0]).toEqual([query, 422, true]);
  }
  const wrong = [
    'mutation { configurePlugin(plugin_id: "add", input: 1) }',
    'mutation { setPluginsEnabled(enabledMap: { add: 1 }) }',
    `mutation { runPluginOperation(plugin_id: "add", args: { a: ${'['.repeat(300)}${']'.repeat(300)} }) }`,
  ];
  for (const query of wrong) {
    const { status, body } = await graphql(service, query);
    expect([query, status >= 200 && status < 500, body.errors?.length]).toEqual([query, true, 1]);
  }
});

test('of two fields under one name the first counts: nobody compares all with all', async () => {
  const { plugins } = await data('{ plugins { word: id word: name } }');
  expect(plugins).toContainEqual({ word: 'add' });
});

test('tasks that lead to their plugin and that to its tasks are walked through for a while only', async () => {
  const circle = (times: number) =>
    `{ plugins { tasks { ${'plugin { tasks { '.repeat(times)} name ${'} } '.repeat(times)} } } }`;
  expect((await graphql(service, circle(3))).body.errors).toBeUndefined();
  const { status, body } = await graphql(service, circle(17));
  expect([status, body.errors[0].extensions.code, body.data ?? null]).toEqual([422, 'payload_too_large', null]);
});

test('nothing has been a bug of ours', () => {
  expect(service.log().filter(({ level }) => level >= 50)).toEqual([]);
});
