// Whoever watches a run hears what it logs while it goes on, and in the end exactly what is in its report.
import { strict as assert } from 'node:assert';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Failure } from '../../../src/core/failure.ts';
import { Notes } from '../../support/watch.ts';
import { Scripts } from './scripts.ts';

let scripts: Scripts;
beforeAll(async () => {
  scripts = await Scripts.open();
});
afterAll(() => scripts[Symbol.asyncDispose]());

test('lines and progress are told while the plugin waits for its application', async () => {
  const plugin = await scripts.add(
    'log.Info("before"); console.log("bare"); log.Progress(0.25); gql.Do("q"); log.Progress(1); log.Info("after"); 1',
  );
  const notes = new Notes();
  const asked = Promise.withResolvers<void>();
  const mayAnswer = Promise.withResolvers<void>();
  const graphql = async () => {
    asked.resolve();
    await mayAnswer.promise;
    return { status: 200, body: '{"data":{}}' };
  };
  const run = scripts.run(plugin, { application: { graphql }, watch: notes });
  await asked.promise;
  expect(notes.logs.map(({ message }) => message)).toEqual(['[Plugin / Demo] before', 'bare']);
  expect(notes.progress).toEqual([0.25]);

  mayAnswer.resolve();
  const outcome = await run;
  expect(outcome).toMatchObject({ ok: true, progress: 1 });
  notes.expectReport(outcome);
});

test('lines are told while the plugin computes and speaks to nobody', async () => {
  const plugin = await scripts.add('log.Info("busy"); for (;;) {}');
  const stop = new AbortController();
  // The run goes on for as long as nothing is told.
  const notes = new Notes(() => stop.abort(new Failure('cancelled', 'heard enough')));
  const outcome = await scripts.run(plugin, { signal: stop.signal, watch: notes });
  assert(!outcome.ok);
  expect(outcome.failure.code).toBe('cancelled');
  expect(notes.logs).toHaveLength(1);
  notes.expectReport(outcome);
});

test('a flood is told as far as it is kept, in few pieces', async () => {
  const plugin = await scripts.add(
    'for (let i = 0; i < 50000; i += 1) { log.Info("line " + i); log.Progress(i / 5e4); } 1',
  );
  const notes = new Notes();
  const outcome = await scripts.run(plugin, { watch: notes });
  expect(outcome).toMatchObject({ ok: true, usage: { logLines: 1_000, logLinesDropped: 49_000 } });
  notes.expectReport(outcome);
  expect(notes.times).toBeLessThan(200);
});

test('what fails tells all that it has logged, too', async () => {
  const plugin = await scripts.add('log.Warn("soon"); throw new Error("now")');
  const notes = new Notes();
  const outcome = await scripts.run(plugin, { watch: notes });
  expect(outcome.ok).toBe(false);
  expect(notes.logs).toHaveLength(1);
  notes.expectReport(outcome);
});

test('an operation has no progress, and so tells none', async () => {
  const plugin = await scripts.add('log.Progress(0.5); log.Info("here"); gql.Do("q"); 1');
  const notes = new Notes();
  notes.expectReport(await scripts.run(plugin, { entry: { kind: 'operation' }, watch: notes }));
  expect([notes.progress, notes.logs.length]).toEqual([[], 1]);
});

test('a program on the brief lane stays there, and tells at its end', async () => {
  const plugin = await scripts.add('log.Info("quick " + input.Args.n); log.Progress(0.5); ({Output: 1})');
  const { way } = await scripts.settled(plugin, { args: { n: 1 } });
  expect(way).not.toMatch(/thread of its own/);
  const notes = new Notes();
  const outcome = await scripts.run(plugin, { args: { n: 2 }, watch: notes });
  expect(outcome).toMatchObject({ ok: true, progress: 0.5, logs: [{ message: '[Plugin / Demo] quick 2' }] });
  notes.expectReport(outcome);
  expect((await scripts.runtime.explain('demo', plugin)).way).toBe(way);
});

test('a watch that throws harms nobody', async () => {
  const plugin = await scripts.add('log.Info("a"); log.Progress(0.5); gql.Do("q"); log.Info("b"); ({Output: "fine"})');
  const broken = () => {
    throw new Error('not my day');
  };
  const application = { graphql: async () => ({ status: 200, body: '{"data":{}}' }) };
  const outcome = await scripts.run(plugin, { application, watch: { logged: broken, progressed: broken } });
  expect(outcome).toMatchObject({ ok: true, output: '"fine"', progress: 0.5 });
  expect(outcome.logs).toHaveLength(2);
});
