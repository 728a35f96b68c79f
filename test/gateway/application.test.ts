import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import { HttpApplication, noApplication } from '../../src/gateway/application.ts';

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

type Act = (request: IncomingMessage, response: ServerResponse, body: string) => void;

/** An application that does as the test says. */
async function listening(act: Act): Promise<string> {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    act(request, response, body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ends.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function application(url: string, more: { answerMs?: number; answerBytes?: number } = {}): HttpApplication {
  const one = new HttpApplication({ url, credential: null, ...more });
  ends.push(() => one[Symbol.asyncDispose]());
  return one;
}

const patience = new AbortController().signal;

async function failureOf(promise: Promise<unknown>): Promise<Failure> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(Failure);
  return error as Failure;
}

test('a request goes to /graphql below the base as JSON, and any status comes back', async () => {
  const seen: unknown[] = [];
  const url = await listening(({ method, url: path, headers }, response, body) => {
    seen.push([method, path, headers['content-type'], body]);
    response.writeHead(422).end('{"errors":[]}');
  });
  for (const base of [url, `${url}/`, `${url}/stash/`]) {
    const answer = await application(base).graphql('{"query":"ü"}', patience);
    expect(answer).toEqual({ status: 422, body: '{"errors":[]}' });
  }
  expect(seen).toEqual(
    ['/graphql', '/graphql', '/stash/graphql'].map((path) => ['POST', path, 'application/json', '{"query":"ü"}']),
  );
});

test('connections are kept', async () => {
  const ports = new Set<number | undefined>();
  const url = await listening(({ socket }, response) => {
    ports.add(socket.remotePort);
    response.end('{}');
  });
  const one = application(url);
  for (let i = 0; i < 10; i += 1) await one.graphql('{}', patience);
  expect(ports.size).toBeLessThan(5);
});

test('115: a redirect is not followed', async () => {
  let asked = 0;
  const url = await listening((_request, response) => {
    asked += 1;
    response.writeHead(307, { location: '/elsewhere' }).end();
  });
  expect((await application(url).graphql('{}', patience)).status).toBe(307);
  expect(asked).toBe(1);
});

test('an answer that is too large is cut off, whether it tells its length or not', async () => {
  const url = await listening(({ url: path }, response) => {
    if (path === '/told/graphql') response.writeHead(200, { 'content-length': 5_000 });
    response.end('x'.repeat(5_000));
  });
  for (const base of [`${url}/told`, `${url}/untold`]) {
    const failure = await failureOf(application(base, { answerBytes: 1_000 }).graphql('{}', patience));
    expect(failure.code).toBe('application_error');
    expect(failure.details.limit).toMatchObject({ name: 'gateway.answerBytes', allowed: 1_000, unit: 'bytes' });
  }
  expect((await application(url, { answerBytes: 5_000 }).graphql('{}', patience)).body).toHaveLength(5_000);
});

test('an abort ends the call with its own reason and tells the application', async () => {
  let gone = false;
  const url = await listening((_request, response) => {
    response.on('close', () => {
      gone = true;
    });
    response.write('{');
  });
  const controller = new AbortController();
  const call = application(url).graphql('{}', controller.signal);
  const reason = new Failure('plugin_timeout', 'Too slow');
  setTimeout(() => controller.abort(reason), 50);
  expect(await failureOf(call)).toBe(reason);
  await vi.waitFor(() => expect(gone).toBe(true));

  expect(await failureOf(application(url).graphql('{}', AbortSignal.abort(reason)))).toBe(reason);
});

test.each([
  ['nothing listens', 'http://127.0.0.1:1', /is not reachable: nothing listens there/],
  ['nobody knows the name', 'http://name.invalid:80', /is not reachable: its name/],
])('where %s, the failure says so', async (_, url, words) => {
  const failure = await failureOf(application(url).graphql('{}', patience));
  expect(failure.message).toMatch(words);
  // Where it is, is no business of plugins.
  expect(failure.message).not.toMatch(/127\.0|invalid|http/);
});

test('an application that closes, that is silent or that is no HTTP server is told apart', async () => {
  const url = await listening(({ url: path, socket }, response) => {
    if (path === '/closes/graphql') socket.destroy();
    else if (path === '/stalls/graphql') response.write('{');
    else if (path === '/babbles/graphql') socket.end('hello\r\n\r\n');
  });
  for (const [base, words] of [
    ['closes', /closed the connection before it answered/],
    ['silent', /did not answer in time/],
    ['stalls', /did not finish its answer in time/],
    ['babbles', /did not answer as HTTP does/],
  ] as const) {
    const failure = await failureOf(application(`${url}/${base}`, { answerMs: 200 }).graphql('{}', patience));
    expect([base, failure.message]).toEqual([base, expect.stringMatching(words)]);
  }
});

test('without an application the failure says which setting to set', async () => {
  expect((await failureOf(noApplication.graphql('{}', patience))).message).toMatch(
    /applicationUrl.*ISOPOD_APPLICATION_URL/,
  );
});
