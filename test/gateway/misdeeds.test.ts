// An application that does not answer as it should, as plugins meet it, in both languages and over real sockets.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestApplication } from '../support/application.ts';
import type { TestService } from '../support/client.ts';
import { startTestService } from '../support/service.ts';

const QUERY = '{ version { version } }';

const JS = {
  'js.yml': 'name: js\ninterface: js\nexec: [p.js]\n',
  'p.js': `let out; try { out = gql.Do('${QUERY}'); } catch (error) { out = String(error).slice(0, 300); } ({ Output: out })`,
};

const PY = {
  'py.yml': 'name: py\ninterface: raw\nexec: [python3, "{pluginDir}/p.py"]\n',
  'p.py': `import json, sys, urllib.request, urllib.error
conn = json.load(sys.stdin)['server_connection']
request = urllib.request.Request('http://localhost:%d/graphql' % conn['Port'], json.dumps({'query': '${QUERY}'}).encode(), {'Cookie': 'session=' + conn['SessionCookie']['Value']})
try:
    with urllib.request.urlopen(request) as answer: out = [answer.status, answer.read().decode('utf-8', 'replace')[:300]]
except urllib.error.HTTPError as error: out = [error.code, error.read().decode()[:300]]
print(json.dumps({'output': out}))
`,
};

let application: TestApplication;
let service: TestService;
beforeAll(async () => {
  application = await TestApplication.start({ credential: null });
  service = await startTestService({ plugins: { js: JS, py: PY }, config: { applicationUrl: application.url } });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await application[Symbol.asyncDispose]();
});

/** What `gql.Do` throws, and what a program is answered. Contract: Stash `pkg/javascript/gql.go`. */
test.each<[misdeed: NonNullable<TestApplication['misdeed']>, thrown: RegExp, answered: [number, RegExp]]>([
  ['garbage', /could not unmarshal object/, [200, /^./s]],
  ['half an answer', /could not unmarshal object \{"data":/, [200, /^\{"data":\{"version":$/]],
  ['text', /could not unmarshal object It works!/, [200, /^It works!$/]],
  ['no data', /could not unmarshal object \[1,null\]/, [200, /^\[1,null\]$/]],
  ['html', /graphQL query failed: 500 - <h1>Internal Server Error<\/h1>\. Query: .*Variables: map\[\]/, [500, /^<h1>/]],
  ['closes', /graphQL query failed: 502 - .*closed the connection/, [502, /closed the connection/]],
  ['breaks off', /graphQL query failed: 502 - .*closed the connection/, [502, /closed the connection/]],
  ['huge', /graphQL query failed: 502 - .*more than \d+ bytes/, [502, /application_error/]],
  ['huge as it says', /graphQL query failed: 502 - .*more than \d+ bytes/, [502, /application_error/]],
  ['a bomb', /graphQL query failed: 502 - /, [502, /packed its answer/]],
  ['redirect', /graphQL query failed: 307 - /, [307, /^/]],
])('115: an application that answers with %s', async (misdeed, thrown, [status, answered]) => {
  application.misdeed = misdeed;
  try {
    const [js, py] = [await service.invoke('js'), await service.invoke('py')];
    expect(js.body.output).toMatch(thrown);
    expect([py.body.output[0], py.body.output[1]]).toEqual([status, expect.stringMatching(answered)]);
  } finally {
    application.misdeed = null;
  }
  expect((await service.invoke('js')).body.output).toEqual({ version: { version: 'v0.30.0' } });
});

test.each(['never', 'trickle', 'endless'] as const)(
  'one that answers %s is waited for until the deadline, and the outcome says where the time went',
  async (misdeed) => {
    application.misdeed = misdeed;
    try {
      for (const plugin of ['js', 'py']) {
        const { status, body } = await service.invoke(plugin, { limits: { wallMs: 1_500 } });
        if (misdeed === 'endless') {
          expect([plugin, status]).toEqual([plugin, 200]);
          continue;
        }
        expect([plugin, status, body.code]).toEqual([plugin, 504, 'plugin_timeout']);
        expect(body.usage.hostCalls).toBe(1);
        expect(body.timingsMs.host).toBeGreaterThan(body.timingsMs.run);
      }
    } finally {
      application.misdeed = null;
    }
    // Nobody waits for what nobody wants any more.
    await expect.poll(() => application.connections(), { timeout: 5_000 }).toBeLessThanOrEqual(2);
    expect((await service.invoke('py')).body.output[0]).toBe(200);
  },
);
