// Goal: whatever a plugin that stays does, it is named for it, its process is replaced where that is what it takes, and
// nobody else notices.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import { MACHINE_TIERS, marked } from '../support/process.ts';
import { failureOf, messages, outputOf, ResidentTrial } from '../support/residents.ts';
import { PROMISED } from '../support/tiers.ts';

let trial: ResidentTrial;

beforeAll(async () => {
  // Many die here that are to be there again at once.
  trial = await ResidentTrial.start({ deaths: 1_000, windowMs: 1 });
});

afterAll(async () => {
  await trial[Symbol.asyncDispose]();
});

const run = (action: string, args: unknown = {}, asked = {}) => trial.run('everything', action, args, asked);

describe('what stays', () => {
  test('keeps what it has in memory, and gives each run its own log, settings and progress', async () => {
    trial.desk.stored = { key: 'open-sesame' };
    trial.desk.secret = ['open-sesame'];
    const [first, second] = [outputOf(await run('count')), outputOf(await run('count'))] as { result: number }[];
    assert.equal((second?.result ?? 0) - (first?.result ?? 0), 1);
    const echoed = outputOf(await run('echo', { a: [1, null] }));
    assert.deepEqual(echoed, {
      params: { a: [1, null] },
      settings: { limit: 5, key: 'open-sesame' },
      actions: ['count', 'echo'],
    });
    const [logged, other, stepped] = await Promise.all([run('log'), run('sleep', { seconds: 0.3 }), run('progress')]);
    assert.deepEqual(messages(logged.logs).slice(0, 2), ['by the logger', 'by print']);
    assert.deepEqual(other.logs, []);
    assert.equal(stepped.progress, 1);
    assert.equal(trial.desk.portraits[0]?.description, 'Does whatever it is asked to');
    const warned = trial.runtime.residents.logs('tenant', 'everything').filter(({ level }) => level === 'warning');
    assert.equal(warned[0]?.message, 'Of what its class says: actions[2] ("mute") is left out: its label is missing');
  });

  test('writes into its own folder and its data, and finds nothing of this machine', async () => {
    const [one, two] = [outputOf(await run('where')), outputOf(await run('where'))] as Record<string, string>[];
    assert.equal(two?.code, `${one?.code}x`);
    assert.equal(two?.data, `${one?.data}x`);
    assert.equal(one?.etc, false);
    const other = outputOf(await run('where', {}, { tenant: 'other' })) as Record<string, string>;
    assert.deepEqual([other.code, other.data], ['x', 'x']);
  });

  test('is asked to stop with the reason, and leaves nobody behind', async () => {
    const child = (outputOf(await run('child')) as { result: number }).result;
    assert(child > 0);
    outputOf(await run('thread'));
    await trial.runtime.residents.stop('tenant', 'everything', 'disable');
    const said = readFileSync(join(trial.folder, 'tenant/everything/data/stopped.txt'), 'utf8');
    assert.match(said, /disable\n$/);
    assert.equal(trial.runtime.residents.state('tenant', 'everything')?.is, 'ended');
    outputOf(await run('count'));
  });

  test('takes no secret of its settings into its log, nor into what it says of its errors', async () => {
    const raised = await run('raise', { what: 'telling' });
    assert.equal(failureOf(raised).details.pluginError?.message, 'it was [redacted]');
    assert.match(messages(raised.logs).at(-1) ?? '', /ValueError: it was \[redacted\]$/);
    const { logs } = await run('tell');
    assert.deepEqual(messages(logs), ['the key is [redacted]']);
    const kept = trial.runtime.residents.logs('tenant', 'everything').at(-1);
    assert.equal(kept?.message, 'the key is [redacted]');
  });
});

describe('a run that has to end', () => {
  test('gives up by itself where it listens', async () => {
    const cancel = new AbortController();
    const running = run('wait', {}, { signal: cancel.signal });
    await until(() => trial.runtime.residents.state('tenant', 'everything')?.running === 1);
    cancel.abort(new Failure('cancelled', 'Enough'));
    const failure = failureOf(await running);
    assert.deepEqual([failure.code, failure.details.rung], ['cancelled', 'cooperative']);
  });

  test('is interrupted where it only computes, and what else goes on there goes on', async () => {
    const before = (outputOf(await run('count')) as { result: number }).result;
    const beside = run('sleep', { seconds: 1.5 });
    const failure = failureOf(await run('spin', {}, { wallMs: 400 }));
    assert.deepEqual([failure.code, failure.details.rung], ['plugin_timeout', 'interrupted']);
    assert.deepEqual(outputOf(await beside), { status: 'ok', result: 'slept' });
    assert.equal((outputOf(await run('count')) as { result: number }).result, before + 1);
  });

  test('costs its process where it heeds nothing, and others there are told so', async () => {
    outputOf(await run('count'));
    const beside = run('sleep', { seconds: 30 });
    const failure = failureOf(await run('sleep', { seconds: 30 }, { wallMs: 300 }));
    assert.equal(failure.code, 'plugin_timeout');
    assert.match(failure.details.rung ?? '', /terminated|killed/);
    const lost = failureOf(await beside);
    assert.equal(lost.code, 'executor_lost');
    assert.match(lost.message, /another run of the plugin/);
    assert.deepEqual(outputOf(await run('count')), { status: 'ok', result: 1 });
  });

  test('goes on where nobody waits for it any more and to end it would end others, but not for ever', async () => {
    const before = (outputOf(await run('count')) as { result: number }).result;
    const gone = new AbortController();
    const running = run('sleep', { seconds: 2 }, { signal: gone.signal });
    await until(() => trial.runtime.residents.state('tenant', 'everything')?.running === 1);
    gone.abort(new Failure('cancelled', 'The caller went away', { mayGoOn: true }));
    assert.equal(failureOf(await running).code, 'cancelled');
    const state = () => trial.runtime.residents.state('tenant', 'everything');
    assert.equal(state()?.running, 1);
    await until(() => state()?.running === 0);
    assert.equal((outputOf(await run('count')) as { result: number }).result, before + 1);
    // Runs of this plugin may take half a second: whoever heeds nothing until then is ended after all.
    const late = new AbortController();
    const asked = { tenant: 'hasty', limits: { wallMs: 1_000 }, wallMs: 30_000, signal: late.signal };
    const hasty = trial.run('everything', 'sleep', { seconds: 60 }, asked);
    await until(() => trial.runtime.residents.state('hasty', 'everything')?.running === 1);
    late.abort(new Failure('cancelled', 'The caller went away', { mayGoOn: true }));
    assert.equal(failureOf(await hasty).code, 'cancelled');
    await until(() => trial.deaths.some(({ details: { cause } }) => (cause as Failure)?.code === 'plugin_timeout'));
  });

  test('is told why its process was ended, where that was ours', async () => {
    const running = run('sleep', { seconds: 30 });
    await until(() => trial.runtime.residents.state('tenant', 'everything')?.running === 1);
    await trial.runtime.residents.stop('tenant', 'everything', 'reload');
    assert.deepEqual([failureOf(await running).code, failureOf(await running).blame], ['executor_lost', 'host']);
  });

  test('has no more beside it than there may be', async () => {
    const many = Array.from({ length: 66 }, () => run('sleep', { seconds: 0.5 }));
    const codes = (await Promise.all(many)).map((one) => (one.ok ? 'ok' : one.failure.code));
    assert.deepEqual([codes.filter((code) => code === 'ok').length, codes.at(-1)], [64, 'concurrency_limited']);
  });

  test('is held to its processor time', async () => {
    const failure = failureOf(await run('spin', {}, { limits: { cpuMs: 300 } }));
    assert.equal(failure.code, 'plugin_cpu_exceeded');
    assert.equal(failure.details.limit?.name, 'cpuMs');
  });
});

describe('misdeeds', () => {
  const NAMED: Record<string, { code: string; args?: unknown; asked?: object; survives?: true; says?: RegExp }> = {
    exit: { code: 'plugin_error', survives: true },
    raise: { code: 'plugin_error', args: { what: 'permission' }, survives: true },
    status: { code: 'plugin_error', survives: true },
    odd: { code: 'plugin_invalid_output', survives: true },
    large: { code: 'plugin_output_too_large', args: { bytes: 70_000 }, survives: true },
    leave: { code: 'plugin_crashed', says: /exit status 7/ },
    abort: { code: 'plugin_crashed', says: /SIGABRT/ },
    eat: { code: 'plugin_memory_exceeded' },
    fork: { code: 'plugin_resource_exceeded', asked: { limits: { residentMb: 2_048 } } },
    flood: { code: 'plugin_resource_exceeded' },
    garbage: { code: 'plugin_invalid_output', says: /no JSON/ },
  };

  for (const [action, { code, args = {}, asked = {}, survives, says = /./ }] of Object.entries(NAMED)) {
    test(`${action} is ${code}`, async () => {
      const before = (outputOf(await run('count')) as { result: number }).result;
      const failure = failureOf(await run(action, args, asked));
      assert.equal(failure.code, code, failure.message);
      assert.match(failure.message, says);
      const after = (outputOf(await run('count')) as { result: number }).result;
      assert.equal(after, survives ? before + 1 : 1);
    });
  }

  test('killing its parent kills nobody, and talking without end is kept to its limits', async () => {
    assert.deepEqual(outputOf(await run('parricide')), { status: 'ok', result: 'alive' });
    const talked = await run('chat');
    assert.equal(talked.ok, true);
    assert.equal(talked.logs.length, 100);
    assert(talked.usage.logLinesDropped >= 99_000);
  });

  test('who answers for runs that there are not is ended for it', async () => {
    const failure = failureOf(await run('forge'));
    assert.match(failure.code, /plugin_resource_exceeded|plugin_invalid_output/, JSON.stringify(failure.details));
    outputOf(await run('count'));
  });

  test('who keeps too much under a name that is no text is ended while it runs', async () => {
    outputOf(await run('hide', { mb: 70 }, { tenant: 'secretive' }));
    await until(() => trial.deaths.some(({ details: { limit } }) => limit?.name === 'residents.dataMb'));
  });

  test('who keeps too much is not started again', async () => {
    outputOf(await run('store', { mb: 70 }, { tenant: 'hoarder' }));
    await trial.runtime.residents.stop('hoarder', 'everything', 'shutdown');
    const failure = failureOf(await run('count', {}, { tenant: 'hoarder' }));
    assert.deepEqual(
      [failure.code, failure.details.limit?.name, failure.details.limit?.allowed],
      ['plugin_resource_exceeded', 'residents.dataMb', 64 << 20],
    );
  });

  test('who cannot be loaded says why, at once and again', async () => {
    for (let round = 0; round < 2; round++) {
      const failure = failureOf(await trial.run('broken', 'x'));
      assert.equal(failure.code, 'plugin_boot_failed');
      assert.match(failure.details.pluginError?.message ?? '', /no_such_module/);
    }
  });
});

test('who dies too often rests, says why, and is there again when it is pardoned', async () => {
  await using weak = await ResidentTrial.start({ deaths: 2, windowMs: 60_000 });
  for (let death = 0; death < 2; death++) {
    const failure = failureOf(await weak.run('everything', 'leave'));
    assert.equal(failure.code, 'plugin_crashed');
    await until(() => weak.runtime.residents.state('tenant', 'everything')?.is !== 'running' || death === 0);
  }
  const refused = failureOf(await weak.run('everything', 'count'));
  assert.equal(refused.code, 'plugin_quarantined');
  assert.match(refused.message, /died 2 times.*exit status 7/);
  assert((refused.details.retryAfterMs ?? 0) > 50_000);
  const state = weak.runtime.residents.state('tenant', 'everything');
  assert.deepEqual([state?.is, state?.failure?.code, state?.deaths], ['resting', 'plugin_crashed', 2]);
  weak.runtime.residents.pardon('tenant', 'everything');
  assert.deepEqual(outputOf(await weak.run('everything', 'count')), { status: 'ok', result: 1 });
  // And who died once is started again unasked.
  failureOf(await weak.run('everything', 'leave'));
  await until(() => weak.runtime.residents.state('tenant', 'everything')?.is === 'running');
  assert.equal(existsSync(join(weak.folder, 'tenant/everything/data')), true);
});

describe.each(MACHINE_TIERS)('at the tier %s', (tier) => {
  test('a resident has its folders, and all that it started ends with it', async () => {
    await using lesser = await ResidentTrial.start({ tier });
    const own = outputOf(await lesser.run('everything', 'where')) as Record<string, string>;
    assert.deepEqual([own.code, own.data], ['x', 'x']);
    assert.equal(own.here === '/data/plugins/everything', PROMISED[tier].files === 'own');
    const mark = randomUUID();
    outputOf(await lesser.run('everything', 'child', { mark }));
    await until(() => marked(mark).length > 0);
    const failure = failureOf(await lesser.run('everything', 'sleep', {}, { wallMs: 200 }));
    assert.equal(failure.code, 'plugin_timeout');
    await until(() => marked(mark).length === 0);
  });
});

async function until(holds: () => boolean): Promise<void> {
  for (let look = 0; look < 500; look++) {
    if (holds()) return;
    await sleep(20);
  }
  assert.fail('It never came to be');
}
