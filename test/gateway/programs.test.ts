// What a program of a plugin finds when it dials the gateway, over real sockets, from a real process.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestApplication } from '../support/application.ts';
import type { TestService } from '../support/client.ts';
import { startTestService } from '../support/service.ts';

const MANIFEST = (file: string) => `name: P\nexec: [python3, "{pluginDir}/${file}"]\ninterface: raw\n`;

/** What plugins in the wild do, with the standard library alone. */
const CLIENT = `import json, sys, urllib.request, urllib.error
given = json.load(sys.stdin)
conn, args = given['server_connection'], given['args']
def call(query, variables=None, host=None, cookie=True, key=None, how='POST', value=None):
    url = '%s://%s:%d/graphql' % (conn['Scheme'], host or conn['Host'], conn['Port'])
    headers = {'Content-Type': 'application/json', 'Accept': 'application/json'}
    if cookie: headers['Cookie'] = 'session=' + (value or conn['SessionCookie']['Value'])
    if key: headers['ApiKey'] = key
    body = json.dumps({'query': query, 'variables': variables}).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body, headers=headers, method=how)) as answer:
            return [answer.status, json.loads(answer.read())]
    except urllib.error.HTTPError as error:
        return [error.code, error.read().decode()]
`;

const PLUGINS = {
  ways: `${CLIENT}
q = '{ version { version } }'
out = {}
out['cookie'] = call(q)
out['localhost'] = call(q, host='localhost')
out['nothing'] = call(q, cookie=False)
out['nothing on localhost'] = call(q, cookie=False, host='localhost')
key = call('{ configuration { general { apiKey } } }')[1]['data']['configuration']['general']['apiKey']
out['key'] = call(q, cookie=False, key=key)
out['guess'] = call(q, value=conn['SessionCookie']['Value'][:-2] + 'xx')
out['wrong key'] = call(q, key='wrong')
out['conn'] = conn
out['apiKey'] = key
print(json.dumps({'output': out}))
`,
  cookie: `${CLIENT}
print(json.dumps({'output': conn}))
`,
  child: `${CLIENT}
import subprocess
if args.get('child'):
    print(json.dumps(call('{ version { version } }', cookie=False)))
else:
    given['args'] = {'child': True}
    out = subprocess.run([sys.executable, __file__], input=json.dumps(given).encode(), stdout=subprocess.PIPE).stdout
    print(json.dumps({'output': json.loads(out)}))
`,
  flood: `${CLIENT}
for i in range(args['times']): call('{ version { version } }')
print(json.dumps({'output': 'done'}))
`,
  crowd: `${CLIENT}
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(12) as pool: out = [r[0] for r in pool.map(lambda i: call('{ allTags { id } }'), range(24))]
print(json.dumps({'output': out}))
`,
  client: `${CLIENT}
# The usual client library: the version, the key, the whole schema; then fragments made from it.
assert call('query { version { version } }')[1]['data']['version']['version']
key = call('{ configuration { general { apiKey } } }')[1]['data']['configuration']['general']['apiKey']
ref = 'type { kind name ofType { kind name ofType { kind name ofType { name } } } }'
schema = call('{ __schema { queryType { name } mutationType { name } subscriptionType { name } types { kind name fields(includeDeprecated: true) { name args { name %s } %s } inputFields { name %s } enumValues { name } possibleTypes { name } } directives { name locations } } }' % (ref, ref, ref), cookie=False, key=key)
assert schema[0] == 200, schema
types = {t['name']: t for t in schema[1]['data']['__schema']['types']}
fields = ' '.join(f['name'] for f in types['Scene']['fields'] if f['type']['kind'] in ('SCALAR', 'NON_NULL') and not (f['type'].get('ofType') or {}).get('kind') == 'LIST')
scene = call('query One($id: ID) { findScene(id: $id) { ...S } } fragment S on Scene { %s }' % fields, {'id': '1'})
print(json.dumps({'output': {'scene': scene[1]['data']['findScene'], 'types': sorted(types)}}))
`,
  hoard: `${CLIENT}
import socket, time
held = []
for i in range(300):
    try: held.append(socket.create_connection((conn['Host'], conn['Port']), 2))
    except OSError: break
time.sleep(0.5)
alive = 0
for s in held:
    s.setblocking(False)
    try: alive += 1 if s.recv(1) else 0
    except BlockingIOError: alive += 1
    except OSError: pass
print(json.dumps({'output': [len(held), alive]}))
`,
  raw: `${CLIENT}
import socket, time
def say(text):
    with socket.create_connection((conn['Host'], conn['Port']), 5) as s:
        s.sendall(text.replace('\\n', '\\r\\n').encode())
        s.settimeout(5)
        return s.recv(65536).decode().split('\\r\\n')[0]
c = 'Cookie: session=' + conn['SessionCookie']['Value']
def crumbs():
    with socket.create_connection((conn['Host'], conn['Port']), 5) as s:
        s.settimeout(1)
        try:
            s.sendall(('POST /graphql HTTP/1.1\\r\\nHost: x\\r\\n' + c + '\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n').encode())
            for _ in range(100): s.sendall(b'1\\r\\n \\r\\n' * 10000)
        except TimeoutError: return 'waits'
        return 'taken'
def late():
    # The head, and the body when the answer may be on its way already.
    with socket.create_connection((conn['Host'], conn['Port']), 5) as s:
        s.sendall(b'POST /graphql HTTP/1.1\\r\\nHost: x\\r\\nCookie: session=wrong\\r\\nContent-Length: 30\\r\\nConnection: close\\r\\n\\r\\n')
        for _ in range(10):
            time.sleep(0.001)
            s.sendall(b'xxx')
        s.settimeout(5)
        return s.recv(65536).decode().split('\\r\\n')[0]
print(json.dumps({'output': {
  'in crumbs': crumbs(),
  'refused in the middle': sorted({late() for _ in range(20)}),
  'get': call('', how='GET'),
  'get with a query': say('GET /graphql?query=%7Bversion%7Bversion%7D%7D HTTP/1.1\\nHost: x\\n' + c + '\\nConnection: close\\n\\n'),
  'a mutation by get': say('GET /graphql?query=mutation%7Bx%7D HTTP/1.1\\nHost: x\\n' + c + '\\nConnection: close\\n\\n'),
  'elsewhere': say('GET /v1/plugins HTTP/1.1\\nHost: x\\n' + c + '\\nConnection: close\\n\\n'),
  'too large': say('POST /graphql HTTP/1.1\\nHost: x\\n' + c + '\\nContent-Length: 99999999\\nConnection: close\\n\\n'),
  'no json': say('POST /graphql HTTP/1.1\\nHost: x\\n' + c + '\\nContent-Length: 3\\nConnection: close\\n\\nabc'),
  'no type': say('POST /graphql HTTP/1.1\\nHost: x\\n' + c + '\\nContent-Length: 35\\nConnection: close\\n\\n{"query":"{ version { version } }"}'),
}}))
`,
};

let application: TestApplication;
let service: TestService;
beforeAll(async () => {
  application = await TestApplication.start({ credential: null });
  const plugins = Object.entries(PLUGINS).map(([name, code]) => [
    name,
    { [`${name}.yml`]: MANIFEST(`${name}.py`), [`${name}.py`]: code },
  ]);
  service = await startTestService({
    plugins: Object.fromEntries(plugins),
    config: {
      applicationUrl: application.url,
      limits: { hostCalls: 50, hostCallsAtOnce: 4 },
      tokens: ['operator-token'],
    },
  });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await application[Symbol.asyncDispose]();
});

const run = async (plugin: string, args: Record<string, unknown> = {}) =>
  await service.invoke(plugin, { args }, '', { headers: { authorization: 'Bearer operator-token' } });

const VERSION = [200, { data: { version: { version: 'v0.30.0' } } }];

describe('a program reaches its application', () => {
  test('with the cookie, with a key, with neither, by either name of this machine; and with nothing else', async () => {
    const { body, status } = await run('ways');
    expect(status, JSON.stringify(body)).toBe(200);
    const { conn, apiKey, ...ways } = body.output;
    expect(ways).toEqual({
      cookie: VERSION,
      localhost: VERSION,
      nothing: VERSION,
      'nothing on localhost': VERSION,
      key: VERSION,
      guess: [401, 'Unauthorized'],
      'wrong key': [401, 'Unauthorized'],
    });
    expect(conn).toMatchObject({ Scheme: 'http', Host: '127.0.0.1', PluginDir: expect.stringMatching(/ways$/) });
    expect(conn.SessionCookie).toEqual({
      Name: 'session',
      Value: expect.stringMatching(/^[\w-]{24}\.[\w+/]{43}$/),
      Path: '',
      Domain: '',
      Expires: '0001-01-01T00:00:00Z',
      RawExpires: '',
      MaxAge: 0,
      Secure: false,
      HttpOnly: false,
      SameSite: 0,
      Raw: '',
      Unparsed: null,
    });
    expect(apiKey).toBe(conn.SessionCookie.Value);
    expect(body.usage.hostCalls).toBe(6);
    expect(body.timingsMs.host).toBeGreaterThan(0);
  });

  test('from a process that it has started, which has no cookie', async () => {
    expect((await run('child')).body.output).toEqual(VERSION);
  });

  test('as the usual client library does, which asks for the schema first', async () => {
    const { body } = await run('client');
    expect(body.output, JSON.stringify(body)).toBeDefined();
    expect(body.output.scene).toMatchObject({ id: '1', title: 'One' });
    expect(body.output.types).toEqual(expect.arrayContaining(['Scene', 'Query']));
  });

  test('and nothing beside it; what it sends is bounded', async () => {
    const { body } = await run('raw');
    expect(body.output).toEqual({
      get: [422, expect.stringContaining('no \\"query\\"')],
      'get with a query': 'HTTP/1.1 200 OK',
      'a mutation by get': 'HTTP/1.1 422 Unprocessable Entity',
      elsewhere: 'HTTP/1.1 404 Not Found',
      'too large': 'HTTP/1.1 413 Payload Too Large',
      'no json': 'HTTP/1.1 422 Unprocessable Entity',
      'no type': 'HTTP/1.1 200 OK',
      'in crumbs': 'waits',
      'refused in the middle': ['HTTP/1.1 401 Unauthorized'],
    });
  });
});

test('a cookie opens nothing any more when its invocation has ended, nor does being on this machine', async () => {
  const { body } = await run('cookie');
  const { Port, SessionCookie } = body.output;
  const ask = (headers: Record<string, string>) =>
    fetch(`http://127.0.0.1:${Port}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: '{"query":"{ version { version } }"}',
    });
  await expect
    .poll(async () => (await ask({ cookie: `session=${SessionCookie.Value}` })).status, { timeout: 5_000 })
    .toBe(401);
  for (const headers of [{ cookie: `session=${SessionCookie.Value}` }, {}, { apikey: SessionCookie.Value }]) {
    const answer = await ask(headers);
    expect([answer.status, await answer.text()]).toEqual([401, 'Unauthorized']);
  }
});

test('one call too many ends the invocation, which is told so', async () => {
  const { status, body } = await run('flood', { times: 60 });
  expect([status, body.code]).toEqual([502, 'plugin_resource_exceeded']);
  expect(body.limit).toEqual({ name: 'hostCalls', allowed: 50, observed: 51, unit: 'count' });
  expect((await run('flood', { times: 50 })).body.output).toBe('done');
});

test('of a crowd of calls so many are under way at once, and the others wait', async () => {
  let now = 0;
  let most = 0;
  application.watch = (change) => {
    now += change;
    most = Math.max(most, now);
  };
  application.misdeed = 'slowly';
  const { body } = await run('crowd');
  application.misdeed = null;
  application.watch = null;
  expect(body.output).toEqual(Array(24).fill(200));
  expect(most).toBe(4);
});

test('a program that hoards connections has some of them, and the others have theirs', async () => {
  const hoarding = run('hoard');
  expect((await run('child')).body.output).toEqual(VERSION);
  expect((await hoarding).body.output).toEqual([300, 64]);
});
