// Whoever watches a run hears what it logs while it goes on, and in the end exactly what is in its report.
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { Journal } from '../../../runtimes/process/journal.ts';
import { LIMITS, Trial } from '../../support/process.ts';
import { Notes } from '../../support/watch.ts';

let trial: Trial;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'isopod-watch-'));
  await chmod(folder, 0o755);
  trial = await Trial.start();
});
afterAll(async () => {
  await trial[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const shell = (script: string, ...args: string[]) => ['/bin/sh', '-c', script, 'sh', ...args];

test('lines and progress are told while the program still runs', async () => {
  const gate = join(folder, 'gate');
  const script = `
    printf '\\001i\\002first\\n\\001p\\0020.5\\n\\001i\\002half a' >&2
    while [ ! -e "$1" ]; do sleep 0.02; done
    printf ' line\\n\\001p\\0021\\nlast' >&2; echo '{"output": 1}'`;
  // The program goes on only when its first line was told.
  const notes = new Notes(() => void writeFile(gate, ''));
  const outcome = await trial.run(shell(script, gate), { watch: notes, plugin: { dir: folder, realDir: folder } });
  expect(outcome).toMatchObject({ ok: true, output: '1', progress: 1 });
  const messages = ['first', 'half a line', 'last'].map((line) => `[Plugin / Trial] ${line}`);
  expect(notes.logs.map(({ message }) => message)).toEqual(messages);
  expect(notes.progress).toEqual([0.5, 1]);
  notes.expectReport(outcome);
});

test('a flood is told as far as it is kept, in few pieces', async () => {
  const script = `i=0; while [ $i -lt 5000 ]; do printf '\\001i\\002line\\n' >&2; i=$((i+1)); done; echo '{"output": 1}'`;
  const notes = new Notes();
  const outcome = await trial.run(shell(script), { watch: notes });
  expect(outcome).toMatchObject({ ok: true, usage: { logLines: 1_000, logLinesDropped: 4_000 } });
  notes.expectReport(outcome);
  expect(notes.times).toBeLessThan(200);
});

test('what is ended by force has told what it has logged', async () => {
  const stop = new AbortController();
  const notes = new Notes(() => stop.abort());
  const outcome = await trial.run(shell(`printf '\\001w\\002stuck\\n' >&2; sleep 60`), {
    signal: stop.signal,
    watch: notes,
  });
  expect(outcome.ok).toBe(false);
  expect(notes.logs).toHaveLength(1);
  notes.expectReport(outcome);
});

test('the words of the shell about a program that cannot be started are nothing that the program logged', async () => {
  const notes = new Notes();
  const outcome = await trial.run([join(folder, 'nobody')], { watch: notes });
  expect(outcome.ok).toBe(false);
  notes.expectReport(outcome);
});

test('words of the shell that somebody was told of stay in the report', async () => {
  const notes = new Notes();
  const journal = new Journal({ id: 'trial', name: 'Trial', errLog: null }, LIMITS, performance.now(), notes);
  journal.push(Buffer.from('not found\n'));
  await vi.waitFor(() => expect(notes.logs).toHaveLength(1));
  expect(journal.disown()).toBe('not found');
  journal.close();
  expect(notes.logs).toEqual(journal.logs);
});

test('a watch that throws harms nobody', async () => {
  const broken = () => {
    throw new Error('not my day');
  };
  const script = `printf '\\001i\\002a\\n\\001p\\0020.5\\n' >&2; echo '{"output": "fine"}'`;
  const outcome = await trial.run(shell(script), { watch: { logged: broken, progressed: broken } });
  expect(outcome).toMatchObject({ ok: true, output: '"fine"', progress: 0.5 });
  expect(outcome.logs).toHaveLength(1);
});
