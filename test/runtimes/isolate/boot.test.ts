// What callers and operators see where executors cannot be started, and that it passes.
import { strict as assert } from 'node:assert';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, test, vi } from 'vitest';
import { Scripts } from './scripts.ts';

let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'isopod-boot-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Stands for Node; says that it was called, and then does what `then` says. */
async function fakeNode(name: string, then: string): Promise<string> {
  const file = join(dir, name);
  await writeFile(file, `#!/bin/sh\necho called >> '${dir}/${name}.calls'\n${then}\n`);
  await chmod(file, 0o755);
  return file;
}

test('a run is refused with the reason, and the runtime says that it is not ready', async () => {
  const node = await fakeNode('broken', 'echo "no space for code" >&2; exit 7');
  await using scripts = await Scripts.open(undefined, { nodePath: node });
  const outcome = await scripts.run(await scripts.add('({ Output: 1 });'));
  assert(!outcome.ok);
  assert.equal(outcome.failure.code, 'overloaded');
  assert(outcome.failure.details.retryable);
  assert.match(String(outcome.failure.details.cause), /no space for code/);
  assert.match(String(scripts.runtime.unready()), /an executor did not start: no space for code/);

  await sleep(1000);
  const calls = (await readFile(`${node}.calls`, 'utf8')).split('\n').length - 1;
  assert(calls < 12, `${calls} starts were tried in a second`);
});

test('a run that waits for an executor which never comes up ends when it is stopped', async () => {
  const node = await fakeNode('silent', 'exec sleep 60');
  await using scripts = await Scripts.open(undefined, { nodePath: node });
  const plugin = await scripts.add('({ Output: 1 });');
  const outcome = await scripts.run(plugin, { signal: AbortSignal.timeout(300) });
  assert(!outcome.ok);
  assert.equal(scripts.runtime.unready(), 'the first executor is starting');
});

test('when executors start again, so do runs', async () => {
  const good = `[ $(wc -l < '${dir}/passing.calls') -gt 2 ] && exec '${process.execPath}' "$@"; exit 1`;
  const node = await fakeNode('passing', good);
  await using scripts = await Scripts.open(undefined, { nodePath: node });
  const plugin = await scripts.add('({ Output: 1 });');
  for (let tries = 0; ; tries += 1) {
    const outcome = await scripts.run(plugin);
    if (outcome.ok) break;
    assert(tries < 50, outcome.failure.message);
    await sleep(100);
  }
  assert.equal(scripts.runtime.unready(), null);
});

describe('an executor that somebody has broken out in is ended', () => {
  const WIRE = new URL('../../../runtimes/isolate/wire.ts', import.meta.url).href;
  const misdeeds = {
    'when it says twice that it is ready': 'say(Kind.ready); say(Kind.ready);',
    'when it says what nobody has asked for':
      'say(Kind.ready); setInterval(() => { for (let n = 0; n < 3000; n++) say(Kind.pong); }, 5);',
    'when it starts a process': "say(Kind.ready); setTimeout(() => spawn('sleep', ['60'], { stdio: 'ignore' }), 500);",
  };

  test.each(Object.entries(misdeeds))('%s', async (_when, deed) => {
    const script = join(dir, 'misdeed.mjs');
    const head = `import { spawn } from 'node:child_process'; import { Socket } from 'node:net';
      import { FrameWriter, Kind } from ${JSON.stringify(WIRE)};
      const channel = new Socket({ fd: 3 }); const writer = new FrameWriter(); channel.on('close', () => process.exit()).resume();
      const say = (kind) => { writer.add(kind, 0, 0, 0, '', ''); writer.flush(channel); };`;
    await writeFile(script, `${head}\n${deed}\n`);
    const node = await fakeNode('misdeed', `exec '${process.execPath}' --no-warnings '${script}'`);
    await using scripts = await Scripts.open(undefined, { nodePath: node, spares: 1 });
    await vi.waitFor(() => assert(Number(scripts.runtime.gauges().lost) > 0), { timeout: 15_000 });
  });
});
