// 81: what belongs to one invocation opens nothing to another, whoever has got hold of it.
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestApplication } from '../support/application.ts';
import type { TestService } from '../support/client.ts';
import { startTestService, writePlugin } from '../support/service.ts';

const TOKEN = 'operator-token';

/** Leaves what it was given where others find it, and waits until it may end. */
const VICTIM = `import json, os, socket, sys, time
given = json.load(sys.stdin)
folder = given['args']['folder']
line = socket.create_connection(('127.0.0.1', given['server_connection']['Port']))
with open(folder + '/found.part', 'w') as f: json.dump({**given['server_connection'], 'own': line.getsockname()[1]}, f)
os.rename(folder + '/found.part', folder + '/found')
while not os.path.exists(folder + '/end'): time.sleep(0.02)
print(json.dumps({'output': 'ended'}))
`;

const THIEF = `import json, socket, sys, urllib.request, urllib.error
given = json.load(sys.stdin)
conn, args = given['server_connection'], given['args']
def status(headers):
    request = urllib.request.Request('http://127.0.0.1:%d/graphql' % conn['Port'], b'{"query":"{ version { version } }"}', headers)
    try: return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error: return error.code
own = conn['SessionCookie']['Value']
# The port of somebody else's connection, from other addresses of this machine: whose key is told?
def key(address):
    with socket.socket() as s:
        s.settimeout(20)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, args['port']))
        s.connect(('127.0.0.1', conn['Port']))
        body = b'{"query":"{ configuration { general { apiKey } } }"}'
        s.sendall(b'POST /graphql HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n' % len(body) + body)
        answer = b''
        while chunk := s.recv(65536): answer += chunk
        return json.loads(answer.split(b'\\r\\n\\r\\n')[1])['data']['configuration']['general']['apiKey']
keys = [key('127.0.0.%d' % i) for i in range(2, 30)]
print(json.dumps({'output': {
    'own': status({'Cookie': 'session=' + own}),
    'cookie': status({'Cookie': 'session=' + args['cookie']}),
    'key': status({'ApiKey': args['cookie']}),
    'both': status({'Cookie': 'session=' + own, 'ApiKey': args['cookie']}),
    'ports': [one == own for one in keys].count(True),
    'id': status({'Cookie': 'session=' + args['id']}),
}}))
`;

const files = (name: string, code: string) => ({
  [`${name}.yml`]: `name: ${name}\ninterface: raw\nexec: [python3, "{pluginDir}/p.py"]\n`,
  'p.py': code,
});

let application: TestApplication;
let service: TestService;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'isopod-strangers-'));
  application = await TestApplication.start({ credential: null });
  service = await startTestService({
    plugins: { victim: files('victim', VICTIM), thief: files('thief', THIEF) },
    config: {
      tokens: [TOKEN],
      applicationUrl: application.url,
      applications: { other: { url: application.url } },
    },
  });
  await service.ask('POST', '/v1/tenants', { token: TOKEN, body: { id: 'other' } });
  const dir = join(service.config.dataDir, 'tenants', 'other', 'plugins', 'stash', 'thief');
  await service.ask('GET', '/t/other/v1/plugins', { token: TOKEN });
  await writePlugin(dir, files('thief', THIEF));
  await service.ask('POST', '/t/other/v1/plugins/reload', { token: TOKEN });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await application[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const invoke = (plugin: string, args: unknown, prefix = '') =>
  service.ask('POST', `${prefix}/v1/plugins/${plugin}/invocations`, { token: TOKEN, body: { args } });

test('81: neither the cookie of an invocation that runs nor its id is of use to another, of any tenant', async () => {
  // The test and the plugin meet in a folder that was granted.
  await chmod(folder, 0o777);
  const files = [{ path: folder, mode: 'rw' }];
  await service.ask('PUT', '/v1/plugins/victim/permissions', { token: TOKEN, body: { files } });
  const victim = invoke('victim', { folder });
  const found = await expect.poll(() => readFile(join(folder, 'found'), 'utf8').catch(() => null), { timeout: 10_000 });
  await found.not.toBeNull();
  const { SessionCookie, Port, own } = JSON.parse(await readFile(join(folder, 'found'), 'utf8'));
  const args = { cookie: SessionCookie.Value, port: own, id: '0190aaaa-0000-4000-8000-000000000000' };
  for (const prefix of ['', '/t/other']) {
    const { body } = await invoke('thief', args, prefix);
    const output = { own: 200, cookie: 401, key: 401, both: 401, ports: 28, id: 401 };
    expect({ prefix, detail: body.detail, output: body.output }).toEqual({ prefix, output });
  }
  // While it runs it does open, for whoever is no other invocation.
  const shown = { cookie: `session=${SessionCookie.Value}`, 'content-type': 'application/json' };
  const query = '{"query":"{ version { version } }"}';
  const ask = () => fetch(`http://127.0.0.1:${Port}/graphql`, { method: 'POST', headers: shown, body: query });
  expect((await ask()).status).toBe(200);
  await writeFile(join(folder, 'end'), '');
  expect((await victim).body.output).toBe('ended');
  await expect.poll(async () => (await ask()).status, { timeout: 5_000 }).toBe(401);
});
