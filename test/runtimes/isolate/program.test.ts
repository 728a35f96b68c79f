import { beforeEach, expect, test } from 'vitest';
import { Program } from '../../../runtimes/isolate/program.ts';
import { completed } from '../../../src/config.ts';
import { noUsage } from '../../../src/core/outcome.ts';
import type { Plugin } from '../../../src/core/plugin.ts';

const { limits } = completed({}, '/');
const plugin = { id: 'a', name: 'a', program: { runtime: 'isolate', file: 'a.js' } } as unknown as Plugin;
const quick = { ok: true, usage: { ...noUsage, cpuMs: 0.5 } };
const slow = { ok: true, usage: { ...noUsage, cpuMs: 50 } };

let program: Program;
beforeEach(() => {
  program = new Program(1, plugin, Buffer.from('1'), limits);
});

function promoted(): void {
  program.suitability = { brief: true, frozen: true, because: 'it suits' };
  program.ranLong(quick);
  program.ranLong(quick);
  expect(program.way).toBe('frozen');
}

test('it earns the brief lane by having been quick', () => {
  program.suitability = { brief: true, frozen: false, because: 'it suits' };
  program.ranLong(quick);
  expect(program.way).toBe('long');
  program.ranLong(quick);
  expect(program.way).toBe('fresh');
});

test('slow runs among quick ones, as in a burst on a cold plugin, do not keep it from that', () => {
  program.suitability = { brief: true, frozen: true, because: 'it suits' };
  for (const run of [slow, slow, quick, slow, quick, quick]) program.ranLong(run);
  expect(program.way).toBe('frozen');
});

test('runs that call the application, or fail, are not quick', () => {
  program.suitability = { brief: true, frozen: true, because: 'it suits' };
  for (let i = 0; i < 10; i += 1) {
    program.ranLong({ ok: true, usage: { ...noUsage, hostCalls: 1 } });
    program.ranLong({ ok: false, usage: noUsage });
  }
  expect(program.way).toBe('long');
});

test('one run that was kept waiting does not cost it the frozen realm; three in a row do', () => {
  promoted();
  program.missed('slow', true);
  program.missed('slow', true);
  expect(program.way).toBe('frozen');
  for (let i = 0; i < 200; i += 1) program.ranBrief(0.01);
  program.missed('slow', true);
  expect(program.way).toBe('frozen');
  program.missed('slow', true);
  program.missed('slow', true);
  expect(program.explanation).toEqual({
    way: 'a fresh context made ahead',
    because: 'it is too slow for a frozen realm',
  });
});

test('a run that ends well only outside the frozen realm costs it the realm at once', () => {
  promoted();
  program.missed('threw', true);
  expect(program.explanation.because).toBe('it behaved differently in a frozen realm');
});

test('what it lost, slow runs do not give back', () => {
  promoted();
  program.suspected();
  program.ranLong(slow);
  for (let i = 0; i < 10; i += 1) program.ranLong(quick);
  expect(program.way).toBe('long');
});

test('a program that never succeeds says so', () => {
  for (let i = 0; i < 5; i += 1) program.ranLong({ ok: false, usage: noUsage });
  expect(program.explanation.because).toBe('it has not succeeded yet');
});
