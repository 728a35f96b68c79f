// What callers and operators see where executors cannot be started, and that it passes.
import { strict as assert } from 'node:assert';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, test } from 'vitest';
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
