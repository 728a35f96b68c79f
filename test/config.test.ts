import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { leaves, type SettingSchema, Settings } from '../src/config/schema.ts';
import { ConfigError, configuredApplications, loadConfig, type Sources } from '../src/config.ts';

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
    isolation: { tier: 'auto', cgroup: 'auto', least: 'none', check: 'start' },
    egress: { ranges: [], connections: 16, bytes: 104_857_600, connectMs: 10_000, idleMs: 60_000 },
    hooks: { depth: 32, width: 1_000 },
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
    processes: {
      most: 32,
      perTenant: 8,
      memoryMb: 0,
      parked: 8,
      cpus: 0,
      graceMs: 300,
      stopMs: 1_000,
      environment: {},
    },
    dispatcharr: { shim: 'on', version: '0.31.0', applications: {}, passwords: 'masked', repos: [] },
    sillytavern: {
      enabled: false,
      bodyBytes: 209_715_200,
      requests: 100,
      silenceMs: 120_000,
      blockedMs: 10_000,
      csrf: 'on',
      pages: 'sandboxed',
    },
    secretsKeysBefore: [],
    residents: {
      start: 'loaded',
      most: 64,
      perTenant: 16,
      memoryMb: 0,
      wallMs: 300_000,
      cpuMs: 120_000,
      idleMs: 0,
      graceMs: 1_000,
      stopMs: 5_000,
      dataMb: 1_024,
      ownJobs: 1_000,
      deaths: 5,
      windowMs: 600_000,
    },
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

test('special ranges of addresses are such, in a file and in a variable', () => {
  expect(load({ env: { ISOPOD_EGRESS_RANGES: '192.168.1.0/24, fd12:3456::/32' } }).egress.ranges).toHaveLength(2);
  for (const range of ['192.168.1.1', '192.168.1.0/33', 'nas/24', '1.2.3/8']) {
    expect(() => load({ env: { ISOPOD_EGRESS_RANGES: range } })).toThrow(/range of addresses/);
  }
});

test('hosts of plugin repositories are such', () => {
  expect(
    load({ env: { ISOPOD_DISPATCHARR_REPOS: 'a.example.com, *.example.org:8443' } }).dispatcharr.repos,
  ).toHaveLength(2);
  for (const host of ['https://a.example.com', '*.com', 'a b', '*']) {
    expect(() => load({ env: { ISOPOD_DISPATCHARR_REPOS: host } })).toThrow(/dispatcharr\.repos: .* is no host/);
  }
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

test.each(['true', 'false'])('a switch is %s in a variable', (text) => {
  const { sillytavern } = load({ env: { ISOPOD_SILLYTAVERN_ENABLED: text } });
  expect(sillytavern.enabled).toBe(text === 'true');
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
    'isolation: { tier: none }',
    /isolation\.tier must be one of auto, bubblewrap, bubblewrap-container, landlock, pid-namespace, process-group, not "none"$/,
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
  [{ ISOPOD_SILLYTAVERN_ENABLED: 'yes' }, 'ISOPOD_SILLYTAVERN_ENABLED must be true or false, not "yes"'],
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

describe('applications', () => {
  const url = 'http://10.1.2.3:9999/stash';

  test('the default tenant has the one that variables say, with one credential', () => {
    for (const [variable, text, credential] of [
      ['API_KEY', 'eyJhbGciOiJI.x', { as: 'apiKey', value: 'eyJhbGciOiJI.x' }],
      ['HEADER', 'X-Auth: two words', { as: 'header', name: 'X-Auth', value: 'two words' }],
      ['HEADER', 'Authorization:Basic a:b=c', { as: 'header', name: 'Authorization', value: 'Basic a:b=c' }],
      ['COOKIE', 'session=MTcw=abc:d', { as: 'cookie', name: 'session', value: 'MTcw=abc:d' }],
    ] as const) {
      const config = load({ env: { ISOPOD_APPLICATION_URL: url, [`ISOPOD_APPLICATION_${variable}`]: text } });
      expect(configuredApplications(config).targets).toEqual(new Map([['default', { url, credential }]]));
    }
    expect(configuredApplications(load({ env: { ISOPOD_APPLICATION_URL: url } })).targets).toEqual(
      new Map([['default', { url, credential: null }]]),
    );
  });

  test('each tenant may have one in the file, with its credential there or in a variable', async () => {
    const given = await file(
      [
        'applications:',
        `  default: { url: "${url}", cookie: "session=in-the-file" }`,
        '  acme: { url: https://a.example, header: { env: THEIR_HEADER } }',
        '  beta: { url: http://localhost:1, apiKey: { env: ISOPOD_CREDENTIAL_BETA } }',
        '  open: { url: "http://[::1]:1" }',
      ].join('\n'),
    );
    const env = { THEIR_HEADER: 'X-Key: of-acme-alone', ISOPOD_CREDENTIAL_BETA: 'of-beta-alone' };
    const config = load({ file: given, env });
    expect([...configuredApplications(config).targets]).toEqual([
      ['default', { url, credential: { as: 'cookie', name: 'session', value: 'in-the-file' } }],
      ['acme', { url: 'https://a.example', credential: { as: 'header', name: 'X-Key', value: 'of-acme-alone' } }],
      ['beta', { url: 'http://localhost:1', credential: { as: 'apiKey', value: 'of-beta-alone' } }],
      ['open', { url: 'http://[::1]:1', credential: null }],
    ]);
    // What records of tenants may name is there, whoever names it.
    const others = load({ env: { ISOPOD_CREDENTIAL_2: 'of-somebody', THEIR_HEADER: 'unnamed-here' } });
    expect(others.credentials).toEqual({ ISOPOD_CREDENTIAL_2: 'of-somebody' });
  });

  test('a credential of the environment counts over another kind in the file', async () => {
    const given = await file(`applicationUrl: ${url}\napplicationCookie: session=in-the-file\n`);
    const config = load({ file: given, env: { ISOPOD_APPLICATION_API_KEY: 'of-the-environment' } });
    expect(configuredApplications(config).targets.get('default')?.credential).toEqual({
      as: 'apiKey',
      value: 'of-the-environment',
    });
  });

  test.each([
    ['ftp://host', 'another scheme'],
    ['file:///etc/passwd', 'a file'],
    ['gopher://host', 'an old scheme'],
    ['data:text/plain,x', 'no host'],
    ['javascript:alert(1)', 'a script'],
    ['//host/path', 'no scheme'],
    ['http://', 'nothing'],
    ['http:///path', 'no host'],
    ['http:host', 'no slashes'],
    ['http://sesame@host', 'a user'],
    ['http://user:sesame@host', 'a password'],
    ['http://allowed.example@evil.example', 'a name that is a user'],
    ['http://allowed.example\\\\@evil.example', 'a backslash'],
    ['http://host\\\\path', 'a backslash for a slash'],
    ['http://host?x', 'a query'],
    ['http://host#x', 'a fragment'],
    ['http://host/a\\r\\nX-Header: x', 'a second line'],
    ['http://ho\\nst', 'a line feed that parsers drop'],
    ['http://host/\\tx', 'a tab that parsers drop'],
    ['http://host/\\0', 'a NUL'],
    ['http://host:99999', 'a port that is none'],
    ['http://[::1', 'half an address'],
    ['http://a b', 'a space'],
    ['http://%zz', 'no name'],
    [`http://host/${'x'.repeat(3_000)}`, 'no end'],
  ])('115: the URL %s is refused: %s', async (text) => {
    const sentences = refusal({ file: await file(`applicationUrl: "${text}"`) });
    expect(sentences).toEqual([
      expect.stringMatching(
        /applicationUrl must be an http:\/\/ or https:\/\/ URL without query, fragment or password$/,
      ),
    ]);
    expect(sentences[0]).not.toContain('sesame');
    const [other] = refusal({ file: await file(`applications: { acme: { url: "${text}" } }`) });
    expect(other).toMatch(/applications\.acme\.url must be an http:\/\/ or https:\/\/ URL without/);
  });

  test('where it is, is the word of the operator: also on this machine and in its network', () => {
    for (const fine of ['http://127.1', 'http://0x7f.1:80', 'http://[::ffff:127.0.0.1]', 'http://localhost.:9', url]) {
      expect(refusal({ env: { ISOPOD_APPLICATION_URL: fine } })).toEqual([]);
    }
  });

  test.each([
    ['API_KEY', 'sésame-sésame', /must be 8 or more visible characters/],
    ['API_KEY', 'sesame', /must be 8 or more/],
    ['API_KEY', 'sesame sesame', /must be 8 or more/],
    ['API_KEY', 'sesame-\r\nX-Header: x', /must be 8 or more/],
    ['API_KEY', 'sesame-\u0000-sesame', /must be 8 or more/],
    ['API_KEY', 'sesame-sesame\n', /must be 8 or more/],
    ['HEADER', 'open-sesame-sesame', /must be "Name: value"/],
    ['HEADER', 'Na me: open-sesame', /must be "Name: value"/],
    ['HEADER', ': open-sesame', /must be "Name: value"/],
    ['HEADER', 'X-Key: sesame', /must be "Name: value"/],
    ['HEADER', 'X-Key: open-sesame\r\nHost: x', /must be "Name: value"/],
    ['HEADER', 'X-Key:\topen-sesame', /must be "Name: value"/],
    ['HEADER', 'Host: open-sesame', /: The header Host is no place for a credential/],
    ['HEADER', 'content-LENGTH: open-sesame', /: The header content-LENGTH is no place/],
    ['HEADER', 'Transfer-Encoding: open-sesame', /no place/],
    ['HEADER', 'Connection: open-sesame', /no place/],
    ['HEADER', 'Upgrade: open-sesame', /no place/],
    ['HEADER', 'TE: open-sesame', /no place/],
    ['HEADER', 'Proxy-Authorization: open-sesame', /no place/],
    ['HEADER', 'Accept-Encoding: open-sesame', /no place/],
    ['HEADER', 'Cookie: session=sesame', /no place/],
    ['HEADER', 'Isopod-Hook-Chain: open-sesame', /no place/],
    ['COOKIE', 'open-sesame', /must be "name=value"/],
    ['COOKIE', 'session=sesame', /must be "name=value"/],
    ['COOKIE', 'session=sesame; other=sesame', /must be "name=value"/],
    ['COOKIE', 'session="open-sesame"', /must be "name=value"/],
    ['COOKIE', 'ses sion=open-sesame', /must be "name=value"/],
    ['COOKIE', 'session=open-sesame\n', /must be "name=value"/],
  ])('as %s, %j is refused without being shown', async (kind, text, words) => {
    const variable = `ISOPOD_APPLICATION_${kind}`;
    const key = { API_KEY: 'apiKey', HEADER: 'header', COOKIE: 'cookie' }[kind];
    const inFile = (given: unknown) =>
      file(`applications: { acme: { url: "${url}", ${key}: ${JSON.stringify(given)} } }`);
    const all = [
      refusal({ env: { ISOPOD_APPLICATION_URL: url, [variable]: text } }),
      refusal({ file: await inFile(text) }),
      refusal({ file: await inFile({ env: 'THEIRS' }), env: { THEIRS: text } }),
    ];
    for (const sentences of all) {
      expect(sentences).toHaveLength(1);
      expect(sentences[0]).not.toMatch(/s.same/);
    }
    for (const sentences of all.slice(0, 2)) expect(sentences[0]).toMatch(words);
  });

  test('what does not fit together is said with the names of the settings', async () => {
    const both = { ISOPOD_APPLICATION_API_KEY: 'open-sesame', ISOPOD_APPLICATION_COOKIE: 'session=open-sesame' };
    expect(refusal({ env: { ISOPOD_APPLICATION_URL: url, ...both } })).toEqual([
      'applicationApiKey and applicationCookie are several credentials: leave one',
    ]);
    expect(refusal({ env: { ISOPOD_APPLICATION_API_KEY: 'open-sesame' } })).toEqual([
      'applicationApiKey is of no use without applicationUrl',
    ]);
    const acme = (text: string) => file(`applications: { acme: { ${text} } }`).then((one) => refusal({ file: one }));
    expect(await acme('apiKey: open-sesame')).toEqual([
      'applications.acme.apiKey is of no use without applications.acme.url',
    ]);
    expect(await acme(`url: "${url}", apiKey: { env: NOT_SET }`)).toEqual([
      'applications.acme.apiKey: there is no variable NOT_SET',
    ]);
    expect(await acme(`url: "${url}", apiKey: open-sesame, header: "X-Key: open-sesame"`)).toEqual([
      'applications.acme.apiKey and applications.acme.header are several credentials: leave one',
    ]);
    for (const name of ['ISOPOD_TOKEN', 'DATABASE URL', '']) {
      expect((await acme(`url: "${url}", apiKey: { env: "${name}" }`))[0]).toMatch(
        /apiKey must be .*or \{ env: NAME \}/,
      );
    }
    for (const name of ['__proto__', 'constructor']) {
      expect(await acme(`url: "${url}", apiKey: { env: ${name} }`)).toEqual([
        `applications.acme.apiKey: there is no variable ${name}`,
      ]);
    }
    expect((await acme('credential: open-sesame'))[0]).toMatch(
      /acme\.credential is not a setting.* Allowed here: url, apiKey/,
    );
    expect(refusal({ file: await file('applications: { "No Good": {} }') })[0]).toMatch(/cannot be a name/);
    expect(
      refusal({ file: await file(`applicationUrl: "${url}"\napplications: { default: { url: "${url}" } }`) }),
    ).toEqual(['applications.default and applicationUrl are about the same tenant: leave out the one or the other']);
  });

  test('a variable for records is refused without being shown, and so is a name that no record can have', () => {
    expect(refusal({ env: { ISOPOD_CREDENTIAL_ACME: 'open-sesame\r\nX: y' } })).toEqual([
      'ISOPOD_CREDENTIAL_ACME must be of 8 or more visible characters',
    ]);
    expect(refusal({ env: { ISOPOD_CREDENTIAL_acme: 'open-sesame' } })).toEqual([
      'ISOPOD_CREDENTIAL_acme cannot be a name: capital letters, digits and _ may follow ISOPOD_CREDENTIAL_',
    ]);
  });
});

describe('the documents', () => {
  const read = (file: string) => readFile(new URL(`../${file}`, import.meta.url), 'utf8');
  /** Variables and defaults, of all tables: `| \`ISOPOD_PORT\` | \`4763\` | …`. */
  const rowsIn = (text: string) =>
    [...text.matchAll(/^\| `([A-Z_]+)` \| (none|`[^`]*`)(?: \((\d+) ([KMG])iB\))? \|/gm)].map(
      ([, variable, preset, size, unit]) => ({ variable, preset, bytes: bytesOf(size, unit) }),
    );
  const bytesOf = (size: string | undefined, unit: string | undefined) =>
    size === undefined ? null : `\`${Number(size) * 1024 ** ('KMG'.indexOf(unit ?? '') + 1)}\``;
  const settings = leaves().map(({ variable, schema: { default: preset } }) => ({
    variable,
    preset: preset === undefined || (Array.isArray(preset) && preset.length === 0) ? 'none' : `\`${preset}\``,
  }));

  test('have all settings in one place, with their defaults', async () => {
    const rows = rowsIn(await read('docs/SETTINGS.md'));
    const byName = (one: { variable?: string | undefined }) => one.variable ?? '';
    const inOrder = <T extends { variable?: string | undefined }>(all: T[]) =>
      all.toSorted((a, b) => byName(a).localeCompare(byName(b)));
    expect(inOrder(rows.map(({ variable, preset }) => ({ variable, preset })))).toEqual(inOrder(settings));
    for (const { variable, preset, bytes } of rows)
      if (bytes !== null) expect([variable, bytes]).toEqual([variable, preset]);
  });

  test('have those that stand in the file alone there, too', async () => {
    const maps = (schema: SettingSchema, path: string): string[] =>
      schema.patternProperties === undefined
        ? Object.entries(schema.properties ?? {}).flatMap(([key, one]) =>
            maps(one, path === '' ? key : `${path}.${key}`),
          )
        : [path];
    const text = await read('docs/SETTINGS.md');
    const inFile = text.slice(text.indexOf('## In the file only')).matchAll(/^\| `([\w.]+)` \|/gm);
    expect([...inFile].map(([, place]) => place).sort()).toEqual(maps(Settings as SettingSchema, '').sort());
  });

  test('say the same of the few that the README has', async () => {
    const rows = rowsIn(await read('README.md'));
    expect(rows.length).toBeGreaterThanOrEqual(12);
    for (const { variable, preset } of rows) expect(settings).toContainEqual({ variable, preset });
  });
});
