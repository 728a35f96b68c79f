// Programs that wait before anybody calls: only those that do nothing else first, each for one call, and none for long.
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Invocation } from '../../../src/core/invocation.ts';
import type { Plugin, Program } from '../../../src/core/plugin.ts';
import { Trial } from '../../support/process.ts';

let trial: Trial;
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'isopod-parking-'));
  await chmod(folder, 0o755);
  trial = await Trial.start({ parked: 4 });
});
afterEach(async () => {
  await trial[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** Tells when it was started and what it was given. */
const PATIENT = `
import json, sys, time
started = time.time() * 1000
given = json.load(sys.stdin)
print(json.dumps({'output': {'started': started, 'args': given['args']}}))
`;

async function pluginOf(script: string): Promise<Plugin> {
  await writeFile(join(folder, 'plugin.py'), script);
  const program: Program = { runtime: 'process', exec: ['python3', '{pluginDir}/plugin.py'], speaks: 'raw' };
  return Trial.plugin({ id: 'parked', dir: folder, realDir: folder, program });
}

async function call(plugin: Plugin, args: Record<string, unknown> = {}, more: Partial<Invocation> = {}) {
  const invocation = Object.assign(trial.invocation([], { args }), { plugin }, more);
  return await trial.runtime.run(invocation, AbortSignal.timeout(20_000));
}

const parked = () => trial.runtime.gauges().processesParked;
const soon = { timeout: 10_000 };

test('a program that reads its input first is there before it is called, and is each called once', async () => {
  const plugin = await pluginOf(PATIENT);
  expect(await call(plugin, { at: 0 })).toMatchObject({ ok: true });
  for (const at of [1, 2, 3]) {
    await expect.poll(parked, soon).toBeGreaterThan(0);
    const calledAt = Date.now();
    const outcome = await call(plugin, { at });
    if (!outcome.ok) throw outcome.failure;
    const { started, args } = JSON.parse(outcome.output);
    expect(args).toEqual({ at });
    expect(started).toBeLessThan(calledAt);
  }
});

test('one that does anything before is started for nobody', async () => {
  const loud = `import sys\nsys.stderr.write('up\\n')\n${PATIENT}`;
  const busy = `import subprocess\nsubprocess.run(['true'])\n${PATIENT}`;
  const deaf = `print('{"output": 1}')\n`;
  // One that leaves somebody behind who is nobody's child, and one that takes much.
  const orphan = `import os, signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nif os.fork() == 0:\n  if os.fork() == 0:\n    import time; os.close(1); os.close(2); time.sleep(30)\n  os._exit(0)\n${PATIENT}`;
  const large = `hoard = bytearray(150 << 20)\n${PATIENT}`;
  for (const script of [loud, busy, deaf, orphan, large]) {
    const plugin = await pluginOf(script);
    for (let round = 0; round < 4; round++) expect((await call(plugin)).ok).toBe(true);
    expect(parked()).toBe(0);
  }
});

test('files that were changed since count, as do a grant, a tenant and the end of the plugin', async () => {
  const plugin = await pluginOf(PATIENT);
  await call(plugin);
  await expect.poll(parked, soon).toBe(1);
  await pluginOf(PATIENT.replace("'args'", "'new'"));
  const outcome = await call(plugin, { x: 1 });
  expect(JSON.parse((outcome.ok && outcome.output) || '{}')).toMatchObject({ new: { x: 1 } });
  await expect.poll(parked, soon).toBe(1);

  const called = Date.now();
  for (const more of [{ tenant: 'other' }, { grant: { network: ['a.example'], files: [], limits: {} } }]) {
    const other = await call(plugin, {}, more);
    expect(JSON.parse((other.ok && other.output) || '{}').started).toBeGreaterThanOrEqual(called - 1);
  }
  trial.runtime.dismiss('tenant');
  trial.runtime.retain('other', new Set());
  await expect.poll(parked, soon).toBe(0);
});

test('an answer is believed when it is whole, until a program has had more to say', async () => {
  const plugin = await pluginOf(
    `${PATIENT}\nsys.stdout.flush()\ntime.sleep(0.2)\nsys.exit(3 if given['args'] else 0)\n`,
  );
  expect((await call(plugin)).ok).toBe(true);
  await expect.poll(parked, soon).toBe(1);
  expect((await call(plugin, { fails: true })).ok).toBe(true);
  await expect.poll(() => trial.runtime.gauges().processes, soon).toBe(0);
  await expect.poll(parked, soon).toBeGreaterThan(0);
  const outcome = await call(plugin, { fails: true });
  expect(outcome.ok ? 'ok' : outcome.failure.code).toBe('plugin_error');
});

test('those that wait end with the runtime and leave nothing', async () => {
  await call(await pluginOf(PATIENT));
  await expect.poll(parked, soon).toBe(1);
  expect(trial.processes().length).toBeGreaterThan(0);
  await trial.runtime[Symbol.asyncDispose]();
  expect(trial.processes()).toEqual([]);
});
