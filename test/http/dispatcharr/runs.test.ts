import { afterAll, beforeAll, expect, test } from 'vitest';
import { Failure } from '../../../src/core/failure.ts';
import type { Outcome } from '../../../src/core/outcome.ts';
import { type FakeService, ok, plugin, report, startFakeService } from '../../support/fake.ts';

const failed = (failure: Failure): Outcome => ({ ok: false, failure, ...report() });
const raised = (name: string, message: string, more = {}) =>
  failed(
    new Failure('plugin_error', 'The plugin has raised an exception', { pluginError: { name, message }, ...more }),
  );

/** What comes of an action, and what its caller is answered. */
const CASES: Record<string, { outcome: Outcome; status: number; body: unknown; code?: string }> = {
  returned: { outcome: ok({ status: 'ok' }), status: 200, body: { success: true, result: { status: 'ok' } } },
  'returned as an error': {
    outcome: raised('StatusError', 'no', { output: '{"status":"error","message":"no"}' }),
    status: 200,
    body: { success: true, result: { status: 'error', message: 'no' } },
  },
  // A class of its own that is called so returns nothing.
  'raised under the same name': {
    outcome: raised('StatusError', 'mine'),
    status: 500,
    body: { success: false, error: 'mine' },
    code: 'plugin_error',
  },
  // Other formats answer both.
  'raised with an output': {
    outcome: raised('Error', 'half of it', { output: '{}' }),
    status: 500,
    body: { success: false, error: 'half of it' },
    code: 'plugin_error',
  },
  'raised without a word': {
    outcome: raised('ValueError', ''),
    status: 500,
    body: { success: false, error: '' },
    code: 'plugin_error',
  },
  forbidden: {
    outcome: raised('PermissionError', 'not you'),
    status: 403,
    body: { success: false, error: 'not you' },
    code: 'plugin_error',
  },
  'not loaded': {
    outcome: failed(new Failure('plugin_boot_failed', 'SyntaxError in plugin.py')),
    status: 500,
    body: { success: false, error: "Plugin 'demo' not found" },
    code: 'plugin_boot_failed',
  },
  'took too long': {
    outcome: failed(new Failure('plugin_timeout', 'The plugin took longer than 5 ms')),
    status: 500,
    body: { success: false, error: 'The plugin took longer than 5 ms' },
    code: 'plugin_timeout',
  },
  'said it in a way that moves cursors': {
    outcome: raised('ValueError', 'red\u001b[31m'),
    status: 500,
    body: { success: false, error: 'red[31m' },
    code: 'plugin_error',
  },
  'rests after it died': {
    outcome: failed(new Failure('plugin_quarantined', 'It died five times', { retryAfterMs: 9_000 })),
    status: 503,
    body: { success: false, error: 'It died five times' },
    code: 'plugin_quarantined',
  },
  'found no place': {
    outcome: failed(new Failure('queue_full', 'Too many wait')),
    status: 429,
    body: { success: false, error: 'Too many wait' },
    code: 'queue_full',
  },
  'ended by somebody': {
    outcome: failed(new Failure('cancelled', 'The run was cancelled')),
    status: 409,
    body: { success: false, error: 'The run was cancelled' },
    code: 'cancelled',
  },
};

let service: FakeService;
let goOn = () => {};
beforeAll(async () => {
  service = await startFakeService({
    plugins: [
      plugin({ dialect: 'dispatcharr', program: { runtime: 'python' }, entries: [], portrait: null }),
      plugin({ id: 'stash' }),
    ],
    act: async ({ entry, args }, signal) => {
      const action = 'name' in entry ? entry.name : '';
      if (action === 'hang') {
        signal.addEventListener('abort', () => service.runtime.residents.asked.push('hung up'), { once: true });
        await new Promise<void>((resolve) => {
          goOn = resolve;
        });
        return ok({ action });
      }
      return CASES[action]?.outcome ?? ok({ action, args });
    },
  });
  await service.ask('POST', '/api/plugins/plugins/demo/enabled/', { body: { enabled: true } });
});
afterAll(() => service[Symbol.asyncDispose]());

const run = (body: unknown, key = 'demo', init: { headers?: Record<string, string> } = {}) =>
  service.ask('POST', `/api/plugins/plugins/${key}/run/`, { body, ...init });

test('whatever comes of a run is answered as its host answers it, with our own word in a header', async () => {
  for (const [action, { status, body, code }] of Object.entries(CASES)) {
    const answer = await run({ action });
    expect([action, answer.status, answer.body]).toEqual([action, status, body]);
    expect([action, answer.headers.get('isopod-error-code')]).toEqual([action, code ?? null]);
    expect(answer.headers.get('isopod-invocation')).toMatch(/^[0-9a-f-]{36}$/);
    expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8');
  }
  expect((await run({ action: 'rests after it died' })).headers.get('retry-after')).toBe('9');
});

test('params are passed on whatever they are, but for what Python takes for nothing', async () => {
  for (const params of [{ a: [1] }, [1, 2], 'text', 7, true]) {
    expect((await run({ action: 'x', params })).body.result.args).toEqual(params);
  }
  for (const params of [{}, [], '', 0, false, null, undefined]) {
    expect((await run({ action: 'x', params })).body.result.args).toEqual({});
  }
  expect((await run({ action: 7 })).body.result.action).toBe('7');
});

test('an action that is not named is said before anything else, and plugins of other formats are not there', async () => {
  for (const action of [undefined, '', 0, null, [], {}, false]) {
    for (const key of ['demo', 'nobody']) {
      expect((await run({ action }, key)).body).toEqual({ success: false, error: "Missing 'action'" });
    }
  }
  for (const key of ['stash', 'nobody', 'a b']) {
    const { status, body } = await run({ action: 'x' }, encodeURIComponent(key));
    expect([key, status, body]).toEqual([key, 404, { success: false, error: 'Plugin not found' }]);
  }
  expect((await run({ action: 'x' }, 'stash')).text).toBe((await run({ action: 'x' }, 'nobody')).text);
});

test('the trace of a caller is taken over', async () => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const { headers } = await run({ action: 'returned' }, 'demo', { headers: { traceparent } });
  expect(headers.get('traceparent')).toContain('0af7651916cd43dd8448eb211c80319c');
});

test('a run goes on when its caller goes away, as it does there', async () => {
  const leaving = new AbortController();
  const asked = fetch(`${service.url}/api/plugins/plugins/demo/run/`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"action":"hang"}',
    signal: leaving.signal,
  });
  await expect.poll(() => service.service.running).toBe(1);
  leaving.abort();
  await expect(asked).rejects.toThrow();
  // Whoever was cut off is noticed before others are answered.
  for (let round = 0; round < 5; round++) await service.get('/api/plugins/plugins/');
  expect([service.service.running, service.runtime.residents.asked]).toEqual([
    1,
    expect.not.arrayContaining(['hung up']),
  ]);
  goOn();
  await expect.poll(() => service.service.running).toBe(0);
});
