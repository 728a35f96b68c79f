import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { leaves } from '../src/config/schema.ts';
import { ConfigError, loadConfig, type Sources } from '../src/config.ts';

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'isopod-config-'));
});
afterAll(() => rm(cwd, { recursive: true }));

function load(sources: Partial<Sources> = {}) {
  return loadConfig({ env: {}, cwd, ...sources });
}

/** The sentences with which these settings are refused, with the folder cut off. */
function refusal(sources: Partial<Sources>): string[] {
  try {
    load(sources);
  } catch (error) {
    if (error instanceof ConfigError) return error.sentences.map((one) => one.replaceAll(`${cwd}/`, ''));
    throw error;
  }
  return [];
}

async function file(text: string): Promise<string> {
  await writeFile(join(cwd, 'given.yaml'), text);
  return 'given.yaml';
}

test('without a file and variables all has a default', () => {
  expect(load()).toEqual({
    host: '127.0.0.1',
    port: 4763,
    dataDir: join(cwd, 'data'),
    pluginsDir: join(cwd, 'plugins'),
    databaseConnections: 10,
    applications: {},
    credentials: {},
    gateway: {
      port: 0,
      requestBytes: 1_048_576,
      answerBytes: 16_777_216,
      answerBytesAtOnce: 67_108_864,
      depth: 40,
      fields: 5_000,
    },
    jobs: { atOnce: 16, keepMs: 604_800_000 },
    tokens: [],
    limits: {
      wallMs: 30_000,
      cpuMs: 10_000,
      bootMs: 5_000,
      heapMb: 128,
      residentMb: 512,
      outputBytes: 1_048_576,
      logBytes: 262_144,
      logLines: 1_000,
      hostCalls: 1_000,
      hostCallsAtOnce: 8,
    },
    plugins: {},
    concurrency: { running: 64, waiting: 256, waitMs: 10_000 },
    executors: {
      spares: 1,
      most: 16,
      perTenant: 4,
      memoryMb: 0,
      recycleRuns: 10_000_000,
      recycleMs: 3_600_000,
      recycleMb: 1_024,
      idleMs: 300_000,
    },
    tenants: { loaded: 1_000, idleMs: 900_000 },
    quarantine: { offences: 3, windowMs: 600_000, firstMs: 60_000, longestMs: 1_800_000 },
    processes: { most: 32, perTenant: 8, memoryMb: 0, isolation: 'auto', environment: {} },
    packages: {
      archiveBytes: 52_428_800,
      unpackedBytes: 209_715_200,
      tenantBytes: 2_147_483_648,
      cacheBytes: 2_147_483_648,
    },
    requestBytes: 10_485_760,
    requestBytesAtOnce: 67_108_864,
    drainMs: 10_000,
    logLevel: 'info',
  });
});

test('no default is shared between two that were loaded', () => {
  const [one, other] = [load(), load()];
  one.tokens.push('x');
  one.limits.wallMs = 1;
  expect(other.tokens).toEqual([]);
  expect(load().limits.wallMs).toBe(30_000);
});

test('every setting has a variable whose name follows from its own', () => {
  const names = leaves().map(({ variable }) => variable);
  expect(names).toContain('ISOPOD_HOST');
  expect(names).toContain('ISOPOD_LIMITS_WALL_MS');
  expect(names).toContain('ISOPOD_LIMITS_HOST_CALLS_AT_ONCE');
  expect(names).toContain('ISOPOD_CONCURRENCY_WAIT_MS');
  expect(names).toContain('ISOPOD_APPLICATION_URL');
  expect(names).toContain('ISOPOD_TOKEN');
  expect(new Set(names).size).toBe(names.length);
  for (const { schema, variable } of leaves())
    expect([variable, typeof schema.description]).toEqual([variable, 'string']);
});

test('the command line counts over the environment, that over the file', async () => {
  const given = await file('port: 1\nhost: ::1\nlimits: { wallMs: 11, cpuMs: 12 }\n');
  const config = load({
    file: given,
    env: { ISOPOD_PORT: '2', ISOPOD_LIMITS_WALL_MS: '22', PATH: '/bin' },
    flags: [{ flag: '--port', setting: 'port', text: '3' }],
  });
  expect(config).toMatchObject({ port: 3, host: '::1', limits: { wallMs: 22, cpuMs: 12, bootMs: 5_000 } });
});

test('a file is found by its variable or as isopod.yaml, and paths in it are relative to it', async () => {
  await writeFile(join(cwd, 'isopod.yaml'), 'port: 5\ndataDir: below/data\n');
  expect(load()).toMatchObject({ port: 5, dataDir: join(cwd, 'below/data') });
  await file('port: 6');
  expect(load({ env: { ISOPOD_CONFIG: 'given.yaml', ISOPOD_DATA_DIR: 'there' } })).toMatchObject({
    port: 6,
    dataDir: join(cwd, 'there'),
  });
  await rm(join(cwd, 'isopod.yaml'));
  expect(refusal({ env: { ISOPOD_CONFIG: 'absent.yaml' } })[0]).toMatch(/^absent\.yaml cannot be read: /);
});

test('tokens are one or several, and limits of single plugins stand in the file', async () => {
  expect(load({ env: { ISOPOD_TOKEN: 'a-long-token, another-one_' } }).tokens).toEqual([
    'a-long-token',
    'another-one_',
  ]);
  const given = await file(
    'tokens: [x-long-token]\nplugins:\n  demo: { limits: { wallMs: 5 } }\n  007: {}\n  __proto__: {}\n',
  );
  const { tokens, plugins } = load({ file: given });
  expect(tokens).toEqual(['x-long-token']);
  expect(Object.keys(plugins)).toEqual(['demo', '007', '__proto__']);
  expect(plugins.demo).toEqual({ limits: { wallMs: 5 } });
});

test('an empty file and empty sections set nothing', async () => {
  for (const text of ['', '# nothing\n', 'limits:\n', 'plugins:\nport:\n']) {
    expect(load({ file: await file(text) }).port).toBe(4763);
  }
});

test.each([
  [
    'limits:\n  walMs: 5',
    /^given\.yaml:2:3: limits\.walMs is not a setting; did you mean wallMs\? Allowed here: wallMs, /,
  ],
  ['hots: x', /^given\.yaml:1:1: hots is not a setting; did you mean host\? Allowed here: host, port, /],
  ['zzzzzz: x', /^given\.yaml:1:1: zzzzzz is not a setting\. Allowed here: host, /],
  ['\n\nport: 70000', /^given\.yaml:3:7: port must be a whole number from 0 to 65535, not 70000$/],
  ['port: "80"', /^given\.yaml:1:7: port must be a whole number from 0 to 65535, not "80"$/],
  ['port: 1.5', /^given\.yaml:1:7: port must be a whole number/],
  ['logLevel: loud', /^given\.yaml:1:11: logLevel must be one of silent, error, warn, info, debug, not "loud"$/],
  ['limits: 5', /^given\.yaml:1:9: limits must be a map of settings$/],
  ['- port', /^given\.yaml:1:1: The file must be a map of settings$/],
  ['port: 1\nport: 2', /^given\.yaml:2:1: Map keys must be unique$/],
  ['port: [', /^given\.yaml:1:8: /],
  ['a: &x {}\nlimits: *x', /^given\.yaml:1:1: a is not a setting/],
  [
    'plugins:\n  demo:\n    limits:\n      wallMs: -1',
    /^given\.yaml:4:15: plugins\.demo\.limits\.wallMs must be a whole number from 1 /,
  ],
  ['plugins: { demo: { limit: {} } }', /plugins\.demo\.limit is not a setting; did you mean limits\?/],
  ['applicationUrl: localhost:9999', /^given\.yaml:1:17: applicationUrl must be an http:\/\/ or https:\/\/ URL/],
  ['applicationUrl: "http://[::1:9"', /applicationUrl must be an http:\/\/ or https:\/\/ URL/],
  [
    'processes: { isolation: none }',
    /processes\.isolation must be one of auto, pid-namespace, process-group, not "none"$/,
  ],
  ['processes: { environment: { HOME: /x } }', /^processes\.environment\.HOME cannot be set/],
  ['pythonPath: absent/python', /^pythonPath: there is no .*absent\/python$/],
  ['processes: { environment: { "A=B": c } }', /processes\.environment\.A=B/],
  ['processes: { environment: { A: 5 } }', /processes\.environment\.A must be/],
  ['executors: { spares: 5, most: 2 }', /^executors\.spares \(5\) must not be more than executors\.most \(2\)$/],
  ['quarantine: { firstMs: 10, longestMs: 5 }', /^quarantine\.firstMs \(10\) must not be more than/],
])('the file %j is refused by line', async (text, sentence) => {
  expect(refusal({ file: await file(text) })[0]).toMatch(sentence);
});

test.each([
  [{ ISOPOD_PORT: 'http' }, 'ISOPOD_PORT must be a whole number from 0 to 65535, not "http"'],
  [{ ISOPOD_PORT: '' }, 'ISOPOD_PORT is empty: give it a value or leave it out'],
  [{ ISOPOD_PORT: '1e3' }, 'ISOPOD_PORT must be a whole number from 0 to 65535, not "1e3"'],
  [{ ISOPOD_PROT: '1' }, 'ISOPOD_PROT is not a setting; did you mean ISOPOD_PORT?'],
  [{ ISOPOD_LIMIT_WALL_MS: '1' }, 'ISOPOD_LIMIT_WALL_MS is not a setting; did you mean ISOPOD_LIMITS_WALL_MS?'],
  [{ ISOPOD_CONFIGS: '1' }, 'ISOPOD_CONFIGS is not a setting; did you mean ISOPOD_CONFIG?'],
])('the environment %j is refused by variable', (env, sentence) => {
  expect(refusal({ env })).toEqual([sentence]);
});

test('a token that cannot be one is refused without being shown', async () => {
  const sentences = [
    ...refusal({ env: { ISOPOD_TOKEN: 'sésame' } }),
    ...refusal({ file: await file('tokens: ["open sesame"]') }),
    ...refusal({ file: await file('tokens: sesame') }),
    // Two words are no two tokens, and a short one is soon guessed.
    ...refusal({ env: { ISOPOD_TOKEN: 'correct sesame' } }),
    ...refusal({ env: { ISOPOD_TOKEN: 'sesame' } }),
  ];
  expect(sentences).toHaveLength(5);
  for (const one of sentences) expect(one).not.toMatch(/s.same/);
});

test('everything that is wrong is said at once', async () => {
  const given = await file('port: x\nhots: y\n');
  expect(refusal({ file: given, env: { ISOPOD_X: '1', ISOPOD_DRAIN_MS: 'soon' } })).toHaveLength(4);
});
