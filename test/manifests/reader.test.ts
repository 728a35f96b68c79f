import assert from 'node:assert/strict';
import { describe, test } from 'vitest';
import type { Verdict } from '../../src/core/plugin.ts';
import type { ManifestDialect } from '../../src/manifests/dialect.ts';
import { ManifestReader } from '../../src/manifests/reader.ts';
import { stash } from '../../src/manifests/stash.ts';

const source = (name: string, text = `name: ${name}`) => ({
  file: `stash/${name}.yml`,
  path: `/plugins/stash/${name}.yml`,
  bytes: Buffer.from(text),
});

/** Stash's dialect, with a loader that misbehaves. */
const broken = (fixture: string): ManifestDialect => ({
  ...stash,
  module: new URL(`./fixtures/${fixture}.ts`, import.meta.url).href,
});

const names = (verdicts: Verdict[]) =>
  verdicts.map((verdict) => (verdict.ok ? verdict.plugin.id : verdict.refusal.file));

test('verdicts come back in the order of their sources, however many they are', async () => {
  await using reader = new ManifestReader();
  const sources = Array.from({ length: 250 }, (_, i) => source(`p${i}`, i % 10 === 3 ? 'foo: 1' : 'name: x'));

  const verdicts = await reader.read(stash, sources);

  assert.deepEqual(
    names(verdicts),
    sources.map(({ file }, i) => (i % 10 === 3 ? file : `p${i}`)),
  );
});

test('the key __proto__ is still only a key after the way out of the thread', async () => {
  await using reader = new ManifestReader();

  const [verdict] = await reader.read(stash, [source('p', 'tasks: [{defaultArgs: {__proto__: x}}]')]);

  assert(verdict?.ok);
  const [task] = verdict.plugin.entries;
  assert(task?.kind === 'task');
  assert.deepEqual(Object.entries(task.defaultArgs), [['__proto__', 'x']]);
});

describe('one manifest that is too much for the loader is refused, and its neighbours are read:', () => {
  const faults: Record<string, RegExp> = {
    stubborn: /takes longer than 1500 ms to read/,
    hungry: /takes more than 24 MB of memory to read/,
    throwing: /our reader fails on this file \(TypeError\)/,
  };
  for (const [fault, reason] of Object.entries(faults)) {
    test(fault, async () => {
      await using reader = new ManifestReader({ wallMs: fault === 'stubborn' ? 1_500 : 30_000, heapMb: 24 });

      const verdicts = await reader.read(broken(fault), [source('a'), source(fault), source('b')]);

      assert.deepEqual(names(verdicts), ['a', `stash/${fault}.yml`, 'b']);
      const refusal = verdicts[1]?.ok === false ? verdicts[1].refusal : null;
      assert.match(refusal?.reason ?? '', reason);
      assert.doesNotMatch(refusal?.reason ?? '', /secret/);
      // And the next one gets a thread that works.
      assert.deepEqual(names(await reader.read(stash, [source('c')])), ['c']);
    });
  }
});

test('closing the reader ends what it is reading', async () => {
  const reader = new ManifestReader({ wallMs: 60_000 });
  await reader.read(stash, [source('warm')]);

  const reading = reader.read(broken('stubborn'), [source('stubborn')]);
  const ended = assert.rejects(reading);
  await new Promise((resolve) => setTimeout(resolve, 50));
  await reader[Symbol.asyncDispose]();

  await ended;
});
