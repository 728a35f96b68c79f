import { expect, test } from 'vitest';
import { FAILURE_CODES, Failure, type FailureCode } from '../../src/core/failure.ts';
import { report, startFakeService } from '../support/fake.ts';

// The table of shared/design/failures.md, written a second time: both have to agree.
const STATUS: Record<FailureCode, number> = {
  invalid_request: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  idempotency_key_reused: 422,
  plugin_disabled: 409,
  gone: 410,
  payload_too_large: 413,
  package_rejected: 422,
  manifest_rejected: 422,
  rate_limited: 429,
  concurrency_limited: 429,
  queue_full: 429,
  quota_exceeded: 429,
  cancelled: 409,
  plugin_error: 502,
  plugin_invalid_output: 502,
  plugin_output_too_large: 502,
  plugin_boot_failed: 502,
  plugin_memory_exceeded: 502,
  plugin_resource_exceeded: 502,
  plugin_crashed: 502,
  plugin_cpu_exceeded: 504,
  plugin_timeout: 504,
  executor_lost: 503,
  overloaded: 503,
  queue_timeout: 503,
  draining: 503,
  plugin_quarantined: 503,
  sandbox_unavailable: 503,
  application_error: 502,
  source_failed: 502,
  hook_loop: 508,
  internal: 500,
};

test('every failure has its status, its header, its page and, where it passes by, a time to come back', async () => {
  await using service = await startFakeService({
    act: async ({ args }) => ({ ok: false, failure: new Failure(args.code as FailureCode, 'It failed'), ...report() }),
  });
  for (const code of FAILURE_CODES) {
    const answer = await service.invoke('demo', { args: { code } });

    expect([code, answer.status]).toEqual([code, STATUS[code]]);
    expect(answer.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
    expect(answer.headers.get('isopod-error-code')).toBe(code);
    expect(answer.headers.get('isopod-invocation')).toBe(answer.body.invocation);
    expect(answer.headers.get('server-timing')).toContain('run;dur=');
    expect(answer.body).toMatchObject({
      type: `/problems/${code}`,
      title: expect.stringMatching(/^[A-Z][a-z ]+$/),
      status: STATUS[code],
      detail: 'It failed',
      code,
      hint: expect.stringMatching(/\w/),
      retryable: false,
      plugin: { id: 'demo', version: '1.0' },
      usage: { wallMs: 2, cpuMs: 1.5 },
      timingsMs: { boot: 0.5 },
    });
    const passes = STATUS[code] === 429 || (STATUS[code] === 503 && code !== 'sandbox_unavailable');
    expect([code, answer.headers.get('retry-after')]).toEqual([code, passes ? '1' : null]);
    expect(service.log(answer.body.invocation)).toMatchObject([{ code, detail: 'It failed' }]);

    const page = await service.get(answer.body.type);
    expect(page.body).toMatchObject({ code, status: STATUS[code] });
  }
});

test('a failure tells all that is known about it', async () => {
  const limit = { name: 'heapMb', allowed: 8, observed: 9, unit: 'count' } as const;
  const where = [{ at: '/a', problem: 'is wrong' }];
  const failure = new Failure('plugin_memory_exceeded', 'Too much', {
    limit,
    where,
    rung: 'killed',
    retryable: true,
    retryAfterMs: 1_500,
    cause: new Error('only for us'),
  });
  const logs = [{ level: 'error' as const, message: 'late', atMs: 1 }];
  await using service = await startFakeService({ act: async () => ({ ok: false, failure, ...report(), logs }) });

  const answer = await service.invoke('demo', {}, '?include=logs');
  expect(answer.body).toMatchObject({ limit, rung: 'killed', retryable: true, retryAfterMs: 1_500, logs });
  expect(answer.body.errors).toEqual([{ pointer: '/a', detail: 'is wrong' }]);
  expect(answer.headers.get('retry-after')).toBe('2');
  expect(answer.text).not.toContain('only for us');
  expect(service.log(answer.body.invocation)[0].cause).toContain('only for us');

  expect((await service.invoke('demo', {})).body).not.toHaveProperty('logs');
});

test('a plugin that answers an error and an output gives both, the output as the text it is', async () => {
  const output = '{"n":1e400,"big":12345678901234567890}';
  const failure = new Failure('plugin_error', 'The plugin returned an error', {
    output,
    pluginError: { name: 'Error', message: 'half done' },
  });
  await using service = await startFakeService({ act: async () => ({ ok: false, failure, ...report() }) });

  const { status, text, body } = await service.invoke('demo', {});
  expect(status).toBe(502);
  expect(text.endsWith(`,"output":${output}}`)).toBe(true);
  expect(body.pluginError).toEqual({ name: 'Error', message: 'half done' });
});

test("the plugin's own words are capped and cannot act on a terminal", async () => {
  const words = `\u001b[2J${'x'.repeat(100_000)}`;
  const failure = new Failure('plugin_error', words, { pluginError: { name: words, message: words, stack: words } });
  await using service = await startFakeService({ act: async () => ({ ok: false, failure, ...report() }) });

  const { body, text } = await service.invoke('demo', {});
  expect(body.detail.length).toBeLessThan(4_200);
  expect(body.pluginError.message.length).toBeLessThan(4_200);
  expect(body.pluginError.name.length).toBeLessThan(300);
  expect(body.pluginError.stack.length).toBeLessThan(16_500);
  expect(text).not.toContain('\\u001b');
});

test('an error that is no Failure is internal: opaque to the caller, whole in the log', async () => {
  await using service = await startFakeService({
    act: async () => {
      throw new TypeError('secret of the house');
    },
  });
  const answer = await service.invoke('demo', {});

  expect([answer.status, answer.body.code]).toEqual([500, 'internal']);
  expect(answer.text).not.toContain('secret');
  const [line] = service.log(answer.body.invocation);
  expect(line.level).toBe(50);
  expect(line.cause).toMatch(/TypeError: secret of the house\n\s+at /);
});
