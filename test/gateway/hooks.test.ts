// An application that fires hooks on its own changes, and plugins that read, enqueue and change things in their hooks.
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { TestApplication } from '../support/application.ts';
import type { TestService } from '../support/client.ts';
import { startTestService } from '../support/service.ts';

const TOKEN = 'operator-token';

/** What the plugins in Python begin with: nothing but the standard library. */
const PYTHON = `import json, sys, urllib.request
given = json.load(sys.stdin)
conn, args = given['server_connection'], given['args']
def do(query, variables=None):
    request = urllib.request.Request('http://localhost:%d/graphql' % conn['Port'], json.dumps({'query': query, 'variables': variables}).encode(),
        {'Content-Type': 'application/json', 'Cookie': 'session=' + conn['SessionCookie']['Value']})
    answer = json.loads(urllib.request.urlopen(request).read())
    assert 'errors' not in answer, answer
    return answer['data']
def done(output): print(json.dumps({'output': output}))
`;

function js(triggers: string, source: string) {
  return (name: string) => ({
    [`${name}.yml`]: `name: ${name}\ninterface: js\nexec: [p.js]\nsettings: {greeting: {type: STRING}}\ntasks: [{name: Later}]\nhooks: [{name: On, triggeredBy: [${triggers}], defaultArgs: {mode: hook}}]\n`,
    'p.js': source,
  });
}

function py(triggers: string, source: string) {
  return (name: string) => ({
    [`${name}.yml`]: `name: ${name}\ninterface: raw\nexec: [python3, "{pluginDir}/p.py"]\nsettings: {greeting: {type: STRING}}\ntasks: [{name: Later}]\nhooks: [{name: On, triggeredBy: [${triggers}], defaultArgs: {mode: hook}}]\n`,
    'p.py': `${PYTHON}${source}`,
  });
}

const PLUGINS = {
  'js-reader': js(
    'Scene.Create.Post',
    `function main() {
      const { hookContext, mode } = input.Args;
      if (mode !== 'hook') return { Output: ['later', input.Args.scene] };
      const { plugins } = gql.Do('{ configuration { plugins } }').configuration;
      const job = gql.Do('mutation ($a: Map) { runPluginTask(plugin_id: "js-reader", task_name: "Later", args_map: $a) }', { a: { scene: hookContext.id } });
      return { Output: [plugins['js-reader'].greeting, hookContext, typeof job.runPluginTask] };
    }
    main();`,
  ),
  'py-reader': py(
    'Scene.Create.Post',
    `if args.get('mode') != 'hook': done(['later', args['scene']])
else:
    context = args['hookContext']
    settings = do('{ configuration { plugins(include: ["py-reader"]) } }')['configuration']['plugins']
    job = do('mutation ($a: Map) { runPluginTask(plugin_id: "py-reader", task_name: "Later", args_map: $a) }', {'a': {'scene': context['id']}})
    done([settings['py-reader']['greeting'], context, type(job['runPluginTask']).__name__])
`,
  ),
  'js-loop': js(
    'Scene.Update.Post',
    `const id = input.Args.hookContext.id;
    const title = gql.Do('query ($id: ID) { findScene(id: $id) { title } }', { id }).findScene.title;
    gql.Do('mutation ($input: SceneUpdateInput!) { sceneUpdate(input: $input) { id } }', { input: { id, title: title + '+' } });
    ({ Output: title })`,
  ),
  'py-loop': py(
    'Tag.Create.Post',
    `name = args['hookContext']['input']['name']
do('mutation ($input: TagCreateInput!) { tagCreate(input: $input) { id } }', {'input': {'name': name + '+'}})
done(name)
`,
  ),
  'js-self': js(
    'Gallery.Create.Post',
    `const { n } = input.Args;
    let why = null;
    try { why = gql.Do('mutation ($a: Map) { runPluginOperation(plugin_id: "js-self", args: $a) }', { a: { n: n + 1 } }).runPluginOperation; }
    catch (error) { why = [n, String(error)]; }
    ({ Output: why })`,
  ),
};

let application: TestApplication;
let service: TestService;
beforeAll(async () => {
  application = await TestApplication.start();
  service = await startTestService({
    plugins: Object.fromEntries(Object.entries(PLUGINS).map(([name, files]) => [name, files(name)])),
    config: {
      applicationUrl: application.url,
      applicationApiKey: application.credential?.value,
      tokens: [TOKEN],
      // Fewer places than the chains are long: what is waited for must not wait for who waits.
      concurrency: { running: 4 },
      processes: { perTenant: 6 },
    },
  });
  application.events = { url: service.url, token: TOKEN };
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await application[Symbol.asyncDispose]();
});
beforeEach(() => {
  application.told.length = 0;
});

/** As the application's own user does it, without a plugin. */
async function change(query: string): Promise<unknown> {
  const answer = await fetch(`${application.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', apikey: application.credential?.value ?? '' },
    body: JSON.stringify({ query }),
  });
  return ((await answer.json()) as { data: unknown }).data;
}

const ask = (method: string, path: string, body?: unknown) => service.ask(method, path, { token: TOKEN, body });

function toldOf(type: string) {
  return application.told.filter((one) => one.type === type).map((one) => ({ ...one, answer: JSON.parse(one.answer) }));
}

test('hooks in JavaScript and in Python read their settings and enqueue a task, which runs', async () => {
  for (const plugin of ['js-reader', 'py-reader']) {
    await ask('PUT', `/v1/plugins/${plugin}/settings`, { greeting: `hello ${plugin}` });
  }
  const { sceneCreate } = (await change('mutation { sceneCreate(input: { title: "New" }) { id } }')) as {
    sceneCreate: { id: string };
  };
  const id = Number(sceneCreate.id);
  const [told] = toldOf('Scene.Create.Post');
  expect(told?.status).toBe(200);
  expect(told?.answer.hooks).toMatchObject([
    {
      plugin: 'js-reader',
      status: 'ran',
      output: ['hello js-reader', { id, type: 'Scene.Create.Post', input: null, inputFields: [] }, 'string'],
    },
    {
      plugin: 'py-reader',
      status: 'ran',
      output: ['hello py-reader', { id, type: 'Scene.Create.Post', input: null }, 'str'],
    },
  ]);
  await expect
    .poll(async () => (await ask('GET', '/v1/jobs?task=Later&state=succeeded')).body.jobs.length, { timeout: 20_000 })
    .toBe(2);
  const { jobs } = (await ask('GET', '/v1/jobs?task=Later')).body;
  for (const job of jobs) {
    const { output, cause } = (await ask('GET', `/v1/jobs/${job.id}`)).body;
    expect(output).toEqual(['later', id]);
    expect(cause).toMatchObject({ plugin: job.plugin });
  }
});

test.each([
  ['js-loop', 'Scene.Update.Post', 'mutation { sceneUpdate(input: { id: "1", title: "t" }) { id } }'],
  ['py-loop', 'Tag.Create.Post', 'mutation { tagCreate(input: { name: "t" }) { id } }'],
])('%s, which sets itself off again, is passed over at the eleventh time', async (plugin, type, mutation) => {
  await change(mutation);
  const told = toldOf(type);
  // The last to be fired is the first to be answered.
  expect(told.map(({ status }) => status)).toEqual(Array(11).fill(200));
  const [last, ...others] = told.map(({ answer }) => answer.hooks);
  expect(last).toMatchObject([{ plugin, status: 'skipped', reason: expect.stringContaining(`${plugin} (${type})`) }]);
  expect(others.map(([hook]) => [hook.status, hook.output]).reverse()).toEqual(
    Array.from({ length: 10 }, (_, i) => ['ran', `t${'+'.repeat(i)}`]),
  );
  // Who did it is recorded.
  const first = told.at(-1)?.answer.event;
  const second = told.at(-2)?.answer.event;
  expect([first.cause, second.cause.plugin]).toEqual([null, plugin]);
});

test('116: an application that does not pass the header on is taken to tell of what the plugin has changed', async () => {
  application.forgetsChains = true;
  await ask('PATCH', '/v1/tenants/default', { application: { url: `${application.url}/`, credential: null } });
  application.credential = null;
  try {
    await change('mutation { sceneUpdate(input: { id: "2", title: "u" }) { id } }');
    const told = toldOf('Scene.Update.Post');
    expect(told.map(({ chain }) => chain)).toEqual(Array(11).fill(null));
    expect(told[0]?.answer.hooks).toMatchObject([{ plugin: 'js-loop', status: 'skipped' }]);
    expect(told.at(-2)?.answer.event.cause.plugin).toBe('js-loop');
    expect(service.lines.filter((line) => line.includes('does not pass on the header'))).toHaveLength(1);
  } finally {
    application.forgetsChains = false;
  }
});

test('what a plugin shows opens the gateway alone: neither the service nor anything of another tenant', async () => {
  const { body } = await service.invoke('py-reader', { args: { scene: 1 } }, '', {
    headers: { authorization: `Bearer ${TOKEN}` },
  });
  expect(body.output).toEqual(['later', 1]);
  for (const path of ['/graphql', '/t/other/graphql', '/v1/plugins', '/v1/events']) {
    const answer = await service.fetch(path, {
      method: 'POST',
      headers: { cookie: 'session=abc', apikey: 'abc', 'content-type': 'application/json' },
      body: '{"query":"{ plugins { id } }"}',
    });
    expect([path, answer.status]).toEqual([path, 401]);
  }
});

test('116: runs that wait for each other, one in the other, all find room as deep as they may go', async () => {
  const { status, body } = await service.invoke('js-self', { args: { n: 0 } }, '', {
    headers: { authorization: `Bearer ${TOKEN}` },
  });
  expect([status, body.output?.[0]]).toEqual([200, 32]);
  expect(body.output[1]).toMatch(/hook_loop/);
});
