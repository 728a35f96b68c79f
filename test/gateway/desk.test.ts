import { buildSchema, execute, type GraphQLSchema } from 'graphql';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { GraphqlCaller, OwnFields } from '../../src/core/graphql.ts';
import { HttpApplication, noApplication } from '../../src/gateway/application.ts';
import { SealedChains } from '../../src/gateway/chains.ts';
import { Desk } from '../../src/gateway/desk.ts';
import { Documents } from '../../src/gateway/documents.ts';
import { Introspection } from '../../src/gateway/introspection.ts';
import { Seal } from '../../src/gateway/seal.ts';
import { TestApplication } from '../support/application.ts';

/** Fields of ours, some of which the application has, too. */
class Own implements OwnFields {
  readonly schema: GraphQLSchema = buildSchema(`
    type Query {
      plugins: [Plugin!]
      pluginTasks(of: ID): [Task!]
      configuration: ConfigResult!
      jobQueue: [Job!]
      findJob(input: FindJobInput!): Job
    }
    type Mutation { runPluginTask(plugin_id: ID!, args_map: Map): ID!, stopAllJobs: Boolean! }
    type Plugin { id: ID!, name: String! }
    type Task { name: String!, broken: String! }
    type ConfigResult { plugins: Map!, general: ConfigGeneralResult! }
    type ConfigGeneralResult { apiKey: String! }
    type Job { id: ID!, status: String!, description: String! }
    input FindJobInput { id: ID! }
    scalar Map
  `);
  readonly done: unknown[] = [];

  ownerOf(type: string, field: string, args: Record<string, unknown>) {
    if (`${type}.${field}` === 'Query.findJob') {
      return Number((args.input as { id?: unknown } | undefined)?.id) > 1_000 ? 'ours' : 'theirs';
    }
    if (ALSO.has(`${type}.${field}`)) return 'also';
    return BOTH.has(`${type}.${field}`) ? 'both' : 'ours';
  }

  async execute(...[document, { variables, operationName }, caller]: Parameters<OwnFields['execute']>) {
    const job = { id: '5000', status: 'READY', description: 'ours' };
    const rootValue = {
      plugins: [{ id: 'mine', name: 'Mine' }],
      pluginTasks: [
        {
          name: 'Run',
          broken: () => {
            throw new Error('no such thing');
          },
        },
      ],
      configuration: { plugins: { mine: { a: 1 } }, general: { apiKey: caller.apiKey } },
      jobQueue: [job],
      findJob: job,
      runPluginTask: (args: unknown) => {
        this.done.push(args);
        return '5001';
      },
      stopAllJobs: true,
    };
    return await execute({ schema: this.schema, document, rootValue, variableValues: variables ?? {}, operationName });
  }
}

const BOTH = new Set(['Query.configuration', 'ConfigResult.general']);
const ALSO = new Set(['Query.jobQueue', 'Mutation.stopAllJobs']);

let application: TestApplication;
let http: HttpApplication;
beforeAll(async () => {
  application = await TestApplication.start({ credential: null });
  http = new HttpApplication({ url: application.url, credential: null });
});
afterAll(async () => {
  await http[Symbol.asyncDispose]();
  await application[Symbol.asyncDispose]();
});

const holder = {
  tenant: 'default',
  plugin: 'mine',
  invocation: 'i',
  chain: { root: 'i', by: { plugin: 'mine', invocation: 'i' }, links: [] },
  limits: { hostCalls: 10, hostCallsAtOnce: 1 },
  network: [],
  decided: () => {},
  stop: () => {},
};
const plugin: GraphqlCaller = { tenant: 'default', scopes: ['invoke'], holder, apiKey: 'a key of its own' };
const patience = new AbortController().signal;
const seal = new Seal(Buffer.alloc(32, 1));

function deskOf({ alone = false, depth = 40, fields = 5_000 } = {}) {
  const own = new Own();
  const applicationOf = () => (alone ? noApplication : http);
  const desk = new Desk({
    documents: new Documents({ depth, fields }),
    introspection: new Introspection(() => own.schema),
    own: () => own,
    chains: new SealedChains({ seal, applicationOf, onPresumed: () => {} }),
    applicationOf,
  });
  const ask = async (query: string, variables?: Record<string, unknown>, caller = plugin) => {
    application.asked.length = 0;
    const { status, body } = await desk.ask({ query, variables }, caller, patience);
    return { status, body: JSON.parse(body), asked: application.asked.map((one) => one.query.replace(/\s+/g, ' ')) };
  };
  return { own, desk, ask };
}

const DB = '/data/stash.sqlite';

test.each<[what: string, query: string, data: unknown, asked: string[], variables?: Record<string, unknown>]>([
  [
    'what is theirs, as it came',
    '{ version { version } }',
    { version: { version: 'v0.30.0' } },
    ['{ version { version } }'],
  ],
  ['what is ours, without a call', '{ plugins { id } }', { plugins: [{ id: 'mine' }] }, []],
  [
    'both, in the order in which they were asked, under the names that were given',
    '{ mine: plugins { i: id } v: version { w: version } tasks: pluginTasks { name } }',
    { mine: [{ i: 'mine' }], v: { w: 'v0.30.0' }, tasks: [{ name: 'Run' }] },
    ['{ v: version { w: version } }'],
  ],
  [
    'variables, each where it is used',
    'query Q($id: ID!, $of: ID) { findScene(id: $id) { title } pluginTasks(of: $of) { name } }',
    { findScene: { title: 'One' }, pluginTasks: [{ name: 'Run' }] },
    ['query Q($id: ID!) { findScene(id: $id) { title } }'],
    { id: '1', of: 'x' },
  ],
  [
    'fragments on the first level and below',
    'query { ...Root } fragment Root on Query { plugins { ...P } findScene(id: "1") { ...S } } fragment P on Plugin { id } fragment S on Scene { title ...T } fragment T on Scene { id }',
    { plugins: [{ id: 'mine' }], findScene: { title: 'One', id: '1' } },
    ['{ ... on Query { findScene(id: "1") { ...S } } } fragment S on Scene { title ...T } fragment T on Scene { id }'],
  ],
  [
    'directives, which leave out what they leave out on either side',
    'query ($no: Boolean!) { plugins @include(if: $no) { id } ... @skip(if: $no) { version { version } tasks: pluginTasks { name } } }',
    { version: { version: 'v0.30.0' }, tasks: [{ name: 'Run' }] },
    ['query ($no: Boolean!) { ... @skip(if: $no) { version { version } } }'],
    { no: false },
  ],
  [
    'an object that both have, field by field',
    '{ configuration { plugins general { databasePath } ui } }',
    { configuration: { plugins: { mine: { a: 1 } }, general: { databasePath: DB }, ui: { title: 'Test' } } },
    ['{ configuration { general { databasePath } ui } }'],
  ],
  [
    'one of the two alone, where nothing else is asked for',
    '{ configuration { plugins } }',
    { configuration: { plugins: { mine: { a: 1 } } } },
    [],
  ],
  [
    'the key of the application, with another one in its place, under whatever name',
    'query { configuration { ...C } c: configuration { general { k: apiKey databasePath } } } fragment C on ConfigResult { general { ... on ConfigGeneralResult { apiKey } } }',
    {
      configuration: { general: { apiKey: 'a key of its own' } },
      c: { general: { k: 'a key of its own', databasePath: DB } },
    },
    ['{ c: configuration { general { databasePath } } }'],
  ],
  [
    'a job by whose it is',
    '{ findJob(input: { id: 5000 }) { description } }',
    { findJob: { description: 'ours' } },
    [],
  ],
  [
    'the same with a variable and its default',
    'query ($id: ID! = 7) { findJob(input: { id: $id }) { description } }',
    { findJob: null },
    ['query ($id: ID! = 7) { findJob(input: { id: $id }) { description } }'],
  ],
  [
    'the names of types',
    '{ __typename t: version { __typename } configuration { __typename plugins } }',
    {
      __typename: 'Query',
      t: { __typename: 'Version' },
      configuration: { __typename: 'ConfigResult', plugins: { mine: { a: 1 } } },
    },
    ['{ t: version { __typename } }'].map(() => '{ __typename t: version { __typename } }'),
  ],
])('%s', async (_what, query, data, asked, variables) => {
  const answer = await deskOf().ask(query, variables);
  expect(answer).toEqual({ status: 200, body: { data }, asked });
  expect(JSON.stringify(answer.body.data)).toBe(JSON.stringify(data));
});

test('lists of both follow each other, and one that is empty is none', async () => {
  const { ask } = deskOf();
  expect((await ask('{ jobQueue { id } }')).body).toEqual({ data: { jobQueue: [{ id: '5000' }] } });
  await ask('mutation { metadataScan(input: {}) }');
  const { body } = await ask('{ q: jobQueue { d: description } }');
  expect(body).toEqual({ data: { q: [{ d: 'ours' }, { d: 'Scanning...' }] } });
});

test('of a list that both have, what the application cannot say is left out', async () => {
  const { ask } = deskOf();
  await ask('mutation { metadataScan(input: {}) }');
  for (const misdeed of ['html', 'closes', 'garbage'] as const) {
    application.misdeed = misdeed;
    expect([misdeed, (await ask('{ jobQueue { id } }')).body]).toEqual([
      misdeed,
      { data: { jobQueue: [{ id: '5000' }] } },
    ]);
  }
  application.misdeed = null;
  const people: GraphqlCaller = { ...plugin, holder: null, scopes: ['invoke'] };
  expect((await ask('{ jobQueue { id } }', {}, people)).body).toEqual({ data: { jobQueue: [{ id: '5000' }] } });
  expect(
    (await ask('{ jobQueue { id } }', {}, { ...people, scopes: ['manage'] })).body.data.jobQueue.length,
  ).toBeGreaterThan(1);
});

test('who asks with a token is told of an application that does not speak GraphQL, and does not see its words', async () => {
  const { desk } = deskOf();
  const people: GraphqlCaller = { ...plugin, holder: null, scopes: ['manage'] };
  for (const misdeed of ['html', 'text', 'garbage'] as const) {
    application.misdeed = misdeed;
    const failed = await desk.ask({ query: '{ version { hash } }' }, people, patience).catch((error) => error);
    expect([misdeed, failed.code, failed.message]).toEqual([
      misdeed,
      'application_error',
      expect.stringMatching(/status \d+, and no GraphQL$/),
    ]);
  }
  application.misdeed = null;
});

test('an operation without letters in its name is one without a name', async () => {
  const { desk } = deskOf();
  application.asked.length = 0;
  await desk.ask({ query: 'query A { version { hash } }', operationName: '' }, plugin, patience);
  const { askIn } = await import('../../src/core/graphql.ts');
  expect(askIn({ query: '{ a }', operationName: '' }).operationName).toBeNull();
});

test('the name of a type is not left out with what the application cannot say', async () => {
  const { ask } = deskOf();
  const people: GraphqlCaller = { ...plugin, holder: null, scopes: ['invoke'] };
  expect((await ask('mutation { stopAllJobs __typename }', {}, people)).body).toEqual({
    data: { stopAllJobs: true, __typename: 'Mutation' },
  });
  expect((await ask('{ jobQueue { id } __typename }', {}, people)).body.data.__typename).toBe('Query');
});

test('mutations are done in the order in which they stand', async () => {
  const { ask, own } = deskOf();
  const query = `mutation ($m: Map) { a: sceneCreate(input: { title: "A" }) { title } b: sceneCreate(input: { title: "B" }) { title }
    c: runPluginTask(plugin_id: "mine", args_map: $m) d: tagCreate(input: { name: "D" }) { name } stopAllJobs }`;
  const { body, asked } = await ask(query, { m: { x: 1 } });
  expect(body).toEqual({
    data: { a: { title: 'A' }, b: { title: 'B' }, c: '5001', d: { name: 'D' }, stopAllJobs: true },
  });
  expect(own.done).toEqual([{ plugin_id: 'mine', args_map: { x: 1 } }]);
  expect(asked.map((one) => [...one.matchAll(/[a-z]: \w+|stopAllJobs/g)].map(String))).toEqual([
    ['a: sceneCreate', 'b: sceneCreate'],
    ['d: tagCreate'],
    ['stopAllJobs'],
  ]);
});

test('errors of either side are there, with the paths that the caller knows', async () => {
  const { ask } = deskOf();
  const { status, body } = await ask(
    '{ mine: pluginTasks { b: broken } theirs: findScene(id: "1") { title } configuration { plugins } }',
  );
  expect(status).toBe(200);
  expect(body.data).toEqual({ mine: null, theirs: { title: 'One' }, configuration: { plugins: { mine: { a: 1 } } } });
  expect(body.errors).toMatchObject([{ message: 'no such thing', path: ['mine', 0, 'b'] }]);
  const failed = await ask('mutation { x: sceneUpdate(input: { id: "999" }) { id } runPluginTask(plugin_id: "mine") }');
  expect(failed.body).toMatchObject({
    data: { x: null, runPluginTask: '5001' },
    errors: [{ message: 'scene with id 999 not found', path: ['x'] }],
  });
});

test('what the application does not know is answered in its words and with its status', async () => {
  const { ask } = deskOf();
  const { status, body } = await ask('{ plugins { id } nonsense }');
  expect(status).toBe(422);
  expect(body.errors[0].message).toMatch(/Cannot query field "nonsense"/);
});

test('what we do not know of what is ours is told as Stash tells it', async () => {
  const { desk } = deskOf();
  await expect(desk.ask({ query: '{ plugins {' }, plugin, patience)).rejects.toMatchObject({ code: 'invalid_request' });
});

test('the schema is the application’s, with what is ours in it, and is asked for once', async () => {
  const { ask } = deskOf();
  const query = `query IntrospectionQuery { __schema { queryType { name } types { name fields { name } } } version { version } }`;
  const first = await ask(query);
  const types = new Map(first.body.data.__schema.types.map((one: { name: string }) => [one.name, one]));
  const fieldsOf = (name: string) => (types.get(name) as { fields: { name: string }[] }).fields.map((one) => one.name);
  expect(fieldsOf('Query')).toEqual(expect.arrayContaining(['findScene', 'version', 'pluginTasks', 'plugins']));
  expect(fieldsOf('Mutation')).toEqual(expect.arrayContaining(['sceneUpdate', 'runPluginTask']));
  expect(fieldsOf('Task')).toEqual(['name', 'broken']);
  expect(first.body.data.version).toEqual({ version: 'v0.30.0' });
  expect(first.asked).toHaveLength(2);
  expect((await ask(query)).asked).toEqual(['{ version { version } }'].map(() => expect.stringContaining('version')));
  expect((await ask('{ __type(name: "Plugin") { name fields { name } } }')).body.data.__type.fields).toEqual(
    expect.arrayContaining([{ name: 'id' }, { name: 'enabled' }]),
  );
});

test('without an application the schema is ours alone', async () => {
  const { ask } = deskOf({ alone: true });
  const { body } = await ask('{ __schema { queryType { fields { name } } } plugins { id } }');
  expect(body.data.__schema.queryType.fields).toHaveLength(5);
  expect(body.data.plugins).toEqual([{ id: 'mine' }]);
});

const deep = `{ ${'configuration { '.repeat(50)} plugins ${'} '.repeat(50)} }`;
const doubled = Array.from({ length: 20 }, (_, i) => `fragment F${i} on Query { ...F${i + 1} ...F${i + 1} }`).join(' ');
const cost = `{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }`;

test.each<[what: string, query: string, code: string, words: RegExp]>([
  [
    'fragments in fragments',
    `{ ...A0 } ${Array.from({ length: 60 }, (_, i) => `fragment A${i} on Query { ...A${i + 1} }`).join(' ')} fragment A60 on Query { version { hash } plugins { id } }`,
    'payload_too_large',
    /nested deeper/,
  ],
  ['too long', `{ version { hash } } # ${'x'.repeat(300_000)}`, 'payload_too_large', /letters at most/],
  ['too deep', deep, 'payload_too_large', /nested deeper than/],
  [
    'too many fields',
    `{ ${Array.from({ length: 300 }, (_, i) => `a${i}: allTags { id name a: id b: id c: id d: id e: id f: id g: id h: id i: id j: id k: id l: id m: id n: id o: id p: id q: id }`).join(' ')} }`,
    'payload_too_large',
    /more fields than/,
  ],
  [
    'too many side by side',
    `{ ${Array.from({ length: 201 }, (_, i) => `a${i}: version { hash }`).join(' ')} }`,
    'payload_too_large',
    /side by side/,
  ],
  [
    'fragments that double each other',
    `{ ...F0 } ${doubled} fragment F20 on Query { version { hash } }`,
    'payload_too_large',
    /more fields than/,
  ],
  ['fragments that double what is not there', `{ ...F0 } ${doubled}`, 'payload_too_large', /more fields than/],
  [
    'a fragment in itself',
    '{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }',
    'invalid_request',
    /spreads itself/,
  ],
  ['too many words', `{ ${'a '.repeat(30_000)} }`, 'invalid_request', /cannot be read/],
  ['deeper than the stack', '{a'.repeat(9_000), 'invalid_request', /cannot be read|too deeply/],
  ['types of fields of types', cost, 'payload_too_large|422', /more of the schema|depth/i],
  [
    'several operations without a name',
    'query A { version { hash } } query B { version { hash } }',
    'invalid_request',
    /several/,
  ],
  ['a subscription', 'subscription { jobsSubscribe { type } }', 'invalid_request', /WebSocket/],
  ['nothing', '', 'invalid_request', /cannot be read/],
])('%s is refused at once', async (_what, query, code, words) => {
  const { desk } = deskOf();
  const before = application.asked.length;
  const failed = await desk.ask({ query }, plugin, patience).then(
    ({ status, body }) => ({ code: String(status), message: body }),
    (error) => error,
  );
  expect(failed.message).toMatch(words);
  expect(code.split('|')).toContain(failed.code);
  expect(
    application.asked
      .slice(before)
      .map((one) => one.query)
      .filter((one) => !/IntrospectionQuery/.test(one)),
  ).toEqual([]);
});

test('who has a token only, and may not configure, gets nothing of the application', async () => {
  const { desk, ask } = deskOf();
  const stranger: GraphqlCaller = { tenant: 'default', scopes: ['invoke'], holder: null, apiKey: '' };
  await expect(desk.ask({ query: '{ version { version } }' }, stranger, patience)).rejects.toMatchObject({
    code: 'forbidden',
  });
  expect((await ask('{ plugins { id } }', {}, stranger)).body.data.plugins).toHaveLength(1);
  const manager: GraphqlCaller = { ...stranger, scopes: ['manage'] };
  expect((await ask('{ version { version } }', {}, manager)).body.data.version.version).toBe('v0.30.0');
});

test('what is passed on is what was looked at, however the application reads names', async () => {
  const { ask, desk } = deskOf();
  application.asked.length = 0;
  const smuggled = JSON.parse(
    '{"query":"{ version { hash } }","Query":"mutation { generateAPIKey }","extensions":{"a":1}}',
  );
  await desk.ask(smuggled, plugin, patience);
  expect(JSON.parse(application.asked[0]?.text ?? '')).toEqual({ query: '{ version { hash } }' });
  const { body } = await ask('{ a: configuration { general { __proto__: apiKey databasePath } } }');
  expect(JSON.stringify(body)).toBe(
    `{"data":{"a":{"general":{"__proto__":"a key of its own","databasePath":"${DB}"}}}}`,
  );
});

test('a chain as long as it may be, of plugins with long names, fits into a header', () => {
  const links = Array.from({ length: 100 }, (_, i) => ({
    plugin: `${'p'.repeat(190)}${i % 10}`,
    trigger: 'SceneMarker.Destroy.Post',
  }));
  const chain = { root: 'r'.repeat(36), by: { plugin: 'p'.repeat(200), invocation: 'i'.repeat(36) }, links };
  const text = seal.seal('default', chain);
  expect(text.length).toBeLessThan(8_000);
  expect(seal.open('default', text)).toEqual(chain);
});

test('what is nested without end is refused, and is no bug', async () => {
  const { desk } = deskOf();
  let nested: unknown = 1;
  for (let i = 0; i < 200_000; i += 1) nested = [nested];
  for (const query of [
    'query ($a: Map) { plugins { id } version { hash } }',
    'query ($i: ID!) { findJob(input: { id: $i }) { id } }',
  ]) {
    const failed = await desk
      .ask({ query, variables: { a: nested, i: nested } }, plugin, patience)
      .catch((error) => error);
    expect([query, failed.code ?? failed.status]).not.toEqual([query, 'internal']);
  }
});

test('the chain of the invocation goes along, sealed for its tenant', async () => {
  const { desk } = deskOf();
  const chain = { ...holder.chain, links: [{ plugin: 'mine', trigger: 'Scene.Update.Post' }] };
  application.asked.length = 0;
  await desk.ask({ query: '{ version { hash } }' }, { ...plugin, holder: { ...holder, chain } }, patience);
  const text = String(application.asked[0]?.headers['isopod-hook-chain']);
  expect(seal.open('default', text)).toEqual(chain);
  expect(seal.open('other', text)).toBeNull();
  expect(seal.open('default', `${text.slice(0, -2)}xx`)).toBeNull();
  expect(new Seal(Buffer.alloc(32, 2)).open('default', text)).toBeNull();
});
