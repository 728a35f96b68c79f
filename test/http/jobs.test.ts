// Jobs as a caller sees them: a real service, real plugins, a real socket.
import { strict as assert } from 'node:assert';
import { chmodSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import { Jobs } from '../../src/store/jobs/jobs.ts';
import type { Answer, TestService } from '../support/client.ts';
import { eventsOf } from '../support/events.ts';
import { startTestService } from '../support/service.ts';

function js(id: string, code: string, more = ''): Record<string, string> {
  return { [`${id}.yml`]: `name: ${id}\ninterface: js\nexec: [${id}.js]\n${more}`, [`${id}.js`]: code };
}

let service: TestService & { folder: string };
beforeAll(async () => {
  service = await startTestService({
    plugins: {
      add: js('add', '({ Output: input.Args.a + input.Args.b });', 'tasks: [{name: Add, defaultArgs: {a: x, b: y}}]\n'),
      talk: js(
        'talk',
        'log.Info("one"); log.Progress(0.5); util.Sleep(input.Args.ms); log.Info("two"); log.Progress(1); ({ Output: 1 });',
      ),
      fail: js('fail', '({ Error: "no\\u0000pe" });'),
      loop: js('loop', 'for (;;);'),
      stuck: js('stuck', 'Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1);'),
      nul: js('nul', '({ Output: "\\u0000\\ud800" });'),
      wait: {
        'wait.yml': 'name: wait\ninterface: raw\nexec: [python3, "{pluginDir}/wait-for-cancel.py"]\n',
        'wait-for-cancel.py':
          'import json, os, sys, time\nargs = json.load(sys.stdin)["args"]\nopen(args["file"], "w").write(str(os.getpid()))\n' +
          'print("\\x01i\\x02here", file=sys.stderr, flush=True)\ntime.sleep(float(args["s"]))\nprint(json.dumps({"output": "done"}))\n',
      },
    },
    config: { limits: { cpuMs: 500 } },
  });
});
afterAll(() => service[Symbol.asyncDispose]());

function post(path: string, body: unknown = {}, headers: Record<string, string> = {}): Promise<Answer> {
  return service.fetch(path, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json', ...headers },
  });
}

async function ended(id: string): Promise<Answer['body']> {
  return await vi.waitFor(
    async () => {
      const { body } = await service.get(`/v1/jobs/${id}`);
      assert(!['waiting', 'running'].includes(body.state), body.state);
      return body;
    },
    { timeout: 15_000, interval: 20 },
  );
}

test('a job is accepted, run, and kept with its output', async () => {
  const { status, headers, body } = await post('/v1/jobs', { plugin: 'add', args: { a: 1, b: 2 }, priority: 3 });
  expect(status).toBe(202);
  expect(headers.get('location')).toBe(`/v1/jobs/${body.id}`);
  expect(body).toMatchObject({ state: 'waiting', plugin: 'add', task: null, priority: 3, args: { a: 1, b: 2 } });
  const job = await ended(body.id);
  expect(job).toMatchObject({ state: 'succeeded', output: 3, attempt: 1, usage: { hostCalls: 0 } });
  expect(job.timingsMs.run).toBeGreaterThan(0);
  expect((await service.get(`/v1/jobs?plugin=add&state=succeeded,failed&limit=1`)).body).toMatchObject({
    jobs: [{ id: body.id, state: 'succeeded', code: null }],
    next: null,
  });
  expect((await service.fetch(`/v1/jobs/${body.id}`, { method: 'DELETE' })).status).toBe(204);
  expect((await service.get(`/v1/jobs/${body.id}`)).status).toBe(404);
});

test('what cannot be run is refused before it is kept', async () => {
  const cases: [unknown, number, string][] = [
    [{ plugin: 'nobody' }, 404, 'not_found'],
    [{ plugin: 'add', task: 'Nothing' }, 404, 'not_found'],
    [{ plugin: 'add\u0000' }, 400, 'invalid_request'],
    [{ plugin: 'add', priority: 1000 }, 400, 'invalid_request'],
    [{ plugin: 'add', startAt: 'tomorrow' }, 400, 'invalid_request'],
    [{ plugin: 'add', startAt: '2016-12-31T23:59:60Z' }, 400, 'invalid_request'],
    [{ plugin: 'add', startAt: '9999-12-31T23:59:59-23:59' }, 400, 'invalid_request'],
    [{ plugin: 'add', delayMs: 1, debounce: { key: 'k', ms: 1 } }, 400, 'invalid_request'],
    [{ plugin: 'add', task: 'a\u0000' }, 400, 'invalid_request'],
    [{ plugin: 'add', singletonKey: 'a\u0000b' }, 400, 'invalid_request'],
    [{ plugin: 'add', unknown: 1 }, 400, 'invalid_request'],
  ];
  for (const [body, status, code] of cases) {
    const answer = await post('/v1/jobs', body);
    expect([JSON.stringify(body), answer.status, answer.body.code]).toEqual([JSON.stringify(body), status, code]);
  }
  for (const path of ['/v1/jobs?plugin=%00', '/v1/jobs?limit=0', '/v1/jobs?state=odd', '/v1/jobs?before=x']) {
    expect([path, (await service.get(path)).status]).toEqual([path, 400]);
  }
  for (const id of ['x', '..%2f', '%00', '019505e0-0000-4000-8000-000000000000']) {
    expect([id, (await service.get(`/v1/jobs/${id}`)).status]).toEqual([id, 404]);
  }
  expect((await service.get('/v1/jobs/019505e0-0000-7000-8000-000000000000')).status).toBe(410);
});

test('an invocation becomes a job when its caller does not want to wait', async () => {
  const async = await service.invoke('add', { args: { a: 'x', b: 'y' } }, '', { headers: { prefer: 'respond-async' } });
  expect([async.status, async.headers.get('preference-applied')]).toEqual([202, 'respond-async']);
  expect(async.headers.get('location')).toBe(`/v1/jobs/${async.body.id}`);
  expect(await ended(async.body.id)).toMatchObject({ output: 'xy' });

  const waited = await service.invoke('talk', { args: { ms: 1 } }, '?include=logs', { headers: { prefer: 'wait=10' } });
  expect(waited).toMatchObject({ status: 200, body: { output: 1, progress: null } });
  expect(waited.body.logs.map(({ message }: { message: string }) => message)).toEqual([
    '[Plugin / talk] one',
    '[Plugin / talk] two',
  ]);
  const slow = await service.invoke('talk', { args: { ms: 3_000 } }, '', { headers: { prefer: 'wait=1' } });
  expect(slow).toMatchObject({ status: 202, body: { state: 'running' } });
  expect((await post(`/v1/jobs/${slow.body.id}/cancel`)).body).toMatchObject({ state: 'cancelled' });

  const failed = await service.invoke('fail', {}, '', { headers: { prefer: 'wait=10' } });
  expect(failed).toMatchObject({
    status: 502,
    body: { code: 'plugin_error', pluginError: { message: expect.any(String) } },
  });
});

test('events come as they happen, are numbered, and go on where a client was cut off', async () => {
  const { body } = await post('/v1/jobs', { plugin: 'talk', args: { ms: 700 } });
  const url = `${service.url}/v1/jobs/${body.id}/events`;
  const first = await eventsOf(url, { enough: (seen) => seen.some(({ event }) => event === 'log') });
  expect(first.map(({ event }) => event).slice(0, 3)).toEqual(['accepted', 'started', 'log']);
  expect((await service.get(`/v1/jobs/${body.id}`)).body.state).toBe('running');
  const last = first.at(-1)?.id as string;
  const rest = await eventsOf(url, { headers: { 'last-event-id': last } });
  expect(rest.at(-1)).toMatchObject({ event: 'outcome', data: { state: 'succeeded', output: 1 } });
  const all = await eventsOf(url);
  expect([...first, ...rest].map(({ id }) => id)).toEqual(all.map(({ id }) => id));
  const lines = all.flatMap(({ event, data }) =>
    event === 'log' ? (data as { lines: { message: string }[] }).lines : [],
  );
  expect(lines.map(({ message }) => message)).toEqual(['[Plugin / talk] one', '[Plugin / talk] two']);
  // Whoever has seen the end is told that there is no more.
  const over = await service.get(`/v1/jobs/${body.id}/events`, { 'last-event-id': all.at(-1)?.id as string });
  expect(over.status).toBe(204);
  expect((await service.get('/v1/jobs/nobody/events')).status).toBe(404);
});

test('a store that is overloaded for a moment cuts no stream', async () => {
  const { body } = await post('/v1/jobs', { plugin: 'talk', args: { ms: 300 } });
  const { get, events } = Jobs.prototype;
  const busy = () => Promise.reject(new Failure('overloaded', 'All connections to the database are in use'));
  let gets = 0;
  let reads = 0;
  vi.spyOn(Jobs.prototype, 'get').mockImplementation(function (this: Jobs, id) {
    gets += 1;
    return gets === 2 ? busy() : get.call(this, id);
  });
  vi.spyOn(Jobs.prototype, 'events').mockImplementation(function (this: Jobs, ...ask) {
    reads += 1;
    return reads < 3 ? busy() : events.apply(this, ask);
  });
  try {
    const seen = await eventsOf(`${service.service.url}/v1/jobs/${body.id}/events`);
    expect(seen.map(({ event }) => event)).toContain('log');
    expect(seen.at(-1)).toMatchObject({ event: 'outcome', data: { state: 'succeeded' } });
    expect(seen.map(({ id }) => Number(id))).toEqual(seen.map((_, at) => at));
    expect(reads).toBeGreaterThan(2);
  } finally {
    vi.restoreAllMocks();
  }
});

test('cancelling ends a running plugin really, and says how', async () => {
  const folder = `${service.folder}/meeting`;
  const file = `${folder}/pid`;
  mkdirSync(folder);
  chmodSync(folder, 0o777);
  await service.ask('PUT', '/v1/plugins/wait/permissions', { body: { files: [{ path: folder, mode: 'rw' }] } });
  const { body } = await post('/v1/jobs', { plugin: 'wait', args: { file, s: 60 } });
  await vi.waitFor(() => assert(readFileSync(file, 'utf8') !== ''), { timeout: 10_000 });
  expect(isRunning()).toBe(true);
  const cancelled = await post(`/v1/jobs/${body.id}/cancel`);
  expect(cancelled).toMatchObject({
    status: 200,
    body: { state: 'cancelled', cancel: { stopped: 'terminated' }, problem: { code: 'cancelled' } },
  });
  expect(isRunning()).toBe(false);
  expect((await post(`/v1/jobs/${body.id}/cancel`)).status).toBe(409);

  const waiting = await post('/v1/jobs', { plugin: 'add', delayMs: 60_000 });
  expect((await post(`/v1/jobs/${waiting.body.id}/cancel`)).body).toMatchObject({ state: 'cancelled' });
});

/** Whether its process is there; what it takes for its pid is one of another namespace. */
function isRunning(): boolean {
  return readdirSync('/proc')
    .filter((one) => /^\d+$/.test(one))
    .some((pid) => readOrNothing(`/proc/${pid}/cmdline`).includes('wait-for-cancel.py'));
}

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

test('a failure is retried as often as asked, and then waits for somebody to look at it', async () => {
  const { body } = await post('/v1/jobs', { plugin: 'fail', retries: { most: 2, delayMs: 10 } });
  const job = await ended(body.id);
  expect(job).toMatchObject({
    state: 'dead',
    parked: 'retries_exhausted',
    attempt: 3,
    problem: { code: 'plugin_error' },
  });
  expect(job.history.map(({ attempt }: { attempt: number }) => attempt)).toEqual([1, 2, 3]);
  expect((await service.get('/v1/jobs?state=dead')).body.jobs[0]).toMatchObject({ id: body.id, code: 'plugin_error' });
  expect((await post(`/v1/jobs/${body.id}/redrive`)).status).toBe(202);
  expect(await ended(body.id)).toMatchObject({ state: 'dead', attempt: 6 });

  const once = await post('/v1/jobs', { plugin: 'fail' });
  expect(await ended(once.body.id)).toMatchObject({ state: 'failed', parked: null, attempt: 1 });
});

test('a job that keeps killing what it runs in is parked with the evidence', async () => {
  const { body } = await post('/v1/jobs', { plugin: 'stuck', retries: { most: 10, delayMs: 10 } });
  const job = await ended(body.id);
  expect(job).toMatchObject({ state: 'dead', parked: 'poison', attempt: 2 });
  expect(job.history).toMatchObject([{ rung: 'killed' }, { rung: 'killed' }]);
});

test('an idempotency key does once what is asked for twice', async () => {
  const headers = { 'idempotency-key': 'order-1' };
  const [one, two] = await Promise.all([
    post('/v1/jobs', { plugin: 'add', args: { a: 1, b: 2 } }, headers),
    post('/v1/jobs', { args: { b: 2, a: 1 }, plugin: 'add' }, headers),
  ]);
  expect(one.body.id).toBe(two.body.id);
  const other = await post('/v1/jobs', { plugin: 'add', args: { a: 1, b: 3 } }, headers);
  expect([other.status, other.body.code]).toEqual([422, 'idempotency_key_reused']);
  expect((await post('/v1/jobs', { plugin: 'add' }, { 'idempotency-key': 'with space' })).status).toBe(400);

  const key = { headers: { 'idempotency-key': 'call-1' } };
  const slow = service.invoke('talk', { args: { ms: 500 } }, '', key);
  await sleep(200);
  const meanwhile = await service.invoke('talk', { args: { ms: 500 } }, '', key);
  expect([meanwhile.status, meanwhile.body.code]).toEqual([409, 'conflict']);
  const first = await slow;
  const again = await service.invoke('talk', { args: { ms: 500 } }, '', key);
  expect(again.headers.get('idempotency-replayed')).toBe('true');
  expect([again.status, again.text]).toEqual([first.status, first.text]);
  const different = await service.invoke('talk', { args: { ms: 501 } }, '', key);
  expect(different.status).toBe(422);

  const broken = { headers: { 'idempotency-key': 'call-2' } };
  const failed = await service.invoke('fail', {}, '', broken);
  const failedAgain = await service.invoke('fail', {}, '', broken);
  expect([failed.status, failedAgain.status, failedAgain.text]).toEqual([502, 502, failed.text]);
  // What did not happen may be asked for again.
  const missing = { headers: { 'idempotency-key': 'call-3' } };
  expect((await service.invoke('nobody', {}, '', missing)).status).toBe(404);
  expect((await service.invoke('nobody', {}, '', missing)).status).toBe(404);
});

test('what a plugin answers is kept whatever is in it', async () => {
  const { body } = await post('/v1/jobs', { plugin: 'nul', args: { text: '\u0000\ud800é' } });
  const job = await ended(body.id);
  expect(job).toMatchObject({ state: 'succeeded', args: { text: '\u0000\ud800é' } });
  expect(job.output.charCodeAt(0)).toBe(0);
});

test('a schedule shows its next times and makes jobs; a trigger makes one of the end of another', async () => {
  const put = (path: string, body: unknown, headers = {}) =>
    service.fetch(path, {
      method: 'PUT',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json', ...headers },
    });
  const schedule = await put('/v1/schedules/nightly', {
    cron: '30 2 * * *',
    timeZone: 'Europe/Berlin',
    run: { plugin: 'add', args: { a: 1, b: 1 } },
  });
  expect(schedule).toMatchObject({ status: 201, body: { id: 'nightly', missed: 'skip', revision: 1 } });
  expect(schedule.body.next).toHaveLength(5);
  expect(schedule.headers.get('etag')).toBe('"1"');
  const stale = await put(
    '/v1/schedules/nightly',
    { cron: '* * * * *', run: { plugin: 'add' } },
    { 'if-match': '"7"' },
  );
  expect([stale.status, stale.body.code]).toEqual([412, 'conflict']);
  expect((await put('/v1/schedules/bad', { cron: 'never', run: { plugin: 'add' } })).body).toMatchObject({
    code: 'invalid_request',
    errors: [{ pointer: '/cron' }],
  });
  expect((await service.get('/v1/schedules')).body.schedules).toHaveLength(1);
  expect((await service.fetch('/v1/schedules/nightly', { method: 'DELETE' })).status).toBe(204);
  expect((await service.get('/v1/schedules/nightly')).status).toBe(404);

  const refusals: [string, unknown, number][] = [
    ['/v1/schedules/x', { cron: '* * * * *', run: { plugin: 'nobody' } }, 404],
    ['/v1/schedules/x', { cron: '* * * * *', run: { plugin: 'add', args: { a: 'x'.repeat(70_000) } } }, 413],
    ['/v1/triggers/x', { on: { plugin: 'add' }, run: { plugin: 'add', task: 'Add' } }, 400],
    ['/v1/triggers/x', { on: { plugin: 'add' }, run: { plugin: 'add', task: 'a\u0000' } }, 400],
  ];
  for (const [path, body, status] of refusals) expect([path, (await put(path, body)).status]).toEqual([path, status]);

  const trigger = await put('/v1/triggers/then', {
    on: { plugin: 'add', task: 'Add' },
    run: { plugin: 'add', args: { a: 'after', b: '!' } },
  });
  expect(trigger).toMatchObject({ status: 201, body: { on: { plugin: 'add', task: 'Add', end: 'succeeded' } } });
  const { body } = await post('/v1/jobs', { plugin: 'add', task: 'Add' });
  await ended(body.id);
  const made = await vi.waitFor(async () => {
    const { body: list } = await service.get('/v1/jobs?plugin=add&limit=1');
    expect(list.jobs[0].cause).toEqual({ trigger: 'then', job: body.id, depth: 1, root: body.id });
    return list.jobs[0];
  });
  expect(await ended(made.id)).toMatchObject({ output: 'after!' });
  expect((await service.fetch('/v1/triggers/then', { method: 'DELETE' })).status).toBe(204);
});
