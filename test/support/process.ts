/** The process runtime by itself, and the kernel's word on what it leaves behind. */
import { strict as assert } from 'node:assert';
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { chmod, cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ProcessRuntime, type ProcessRuntimeOptions } from '../../runtimes/process/runtime.ts';
import type { Controller } from '../../src/confinement/cgroup/group.ts';
import { Groups } from '../../src/confinement/cgroup/groups.ts';
import { findMachine } from '../../src/confinement/machine.ts';
import { isOpenToAll } from '../../src/confinement/on-path.ts';
import { TIERS, type Tier } from '../../src/confinement/tier.ts';
import { Failure } from '../../src/core/failure.ts';
import { NOTHING } from '../../src/core/grant.ts';
import type { Invocation } from '../../src/core/invocation.ts';
import type { Limits } from '../../src/core/limits.ts';
import type { Outcome, Watch } from '../../src/core/outcome.ts';
import type { Entry, Plugin } from '../../src/core/plugin.ts';
import { Lodgings, type LodgingsOptions } from '../../src/programs/lodgings.ts';
import { sessionOf } from './session.ts';

/** At the lesser tiers programs run as somebody else in the machine's own files, and have to get there. */
export const FIXTURES = await (async () => {
  const fixtures = resolve(import.meta.dirname, '../fixtures/process');
  if (process.getuid?.() !== 0 || (await isOpenToAll(fixtures))) return fixtures;
  const copy = await mkdtemp(join(tmpdir(), 'isopod-fixtures-'));
  await cp(fixtures, join(copy, 'process'), { recursive: true });
  await chmod(copy, 0o755);
  process.once('exit', () => rmSync(copy, { recursive: true, force: true }));
  return join(copy, 'process');
})();

export const BOUNDS = { most: 32, perTenant: 32, memoryMb: 8_192 };

export const LIMITS: Limits = {
  wallMs: 20_000,
  cpuMs: 10_000,
  bootMs: 10_000,
  heapMb: 128,
  residentMb: 512,
  outputBytes: 1_048_576,
  logBytes: 262_144,
  logLines: 1_000,
  hostCalls: 0,
  hostCallsAtOnce: 0,
};

/** The tiers that this machine has. */
export const MACHINE_TIERS: Tier[] = await Array.fromAsync(TIERS, async (tier) => {
  const isThere = await findMachine(tier).then(
    () => true,
    () => false,
  );
  return isThere ? [tier] : [];
}).then((found) => found.flat());

/** Whether programs get control groups here, and what those bound. */
export const { HAS_GROUPS, CONTROLLERS } = await Groups.find('auto').then(async ({ groups }) => {
  await groups?.[Symbol.asyncDispose]();
  return { HAS_GROUPS: groups !== null, CONTROLLERS: groups?.controllers ?? new Set<Controller>() };
});

/** Whether nothing gets away from the end of a run. */
export function endsForCertain(tier: Tier): boolean {
  return tier !== 'process-group' || HAS_GROUPS;
}

export type TrialRun = {
  args?: Record<string, unknown>;
  limits?: Partial<Limits>;
  plugin?: Partial<Plugin>;
  entry?: Entry;
  /** Aborts the run with `plugin_timeout` after so long. */
  deadlineMs?: number;
  tenant?: string;
  signal?: AbortSignal;
  watch?: Watch;
};

export type TrialOptions = Partial<ProcessRuntimeOptions> & LodgingsOptions;

/** A runtime whose processes carry a mark of the test's own, and whose temporary files lie in a folder of its own. */
export class Trial implements AsyncDisposable {
  readonly mark: string;
  readonly runtime: ProcessRuntime;
  readonly temporary: string;
  readonly #lodgings: Lodgings;
  readonly #descriptors: number;
  readonly #before: string | undefined;

  private constructor(
    mark: string,
    runtime: ProcessRuntime,
    lodgings: Lodgings,
    temporary: string,
    before: string | undefined,
  ) {
    this.mark = mark;
    this.runtime = runtime;
    this.#lodgings = lodgings;
    this.temporary = temporary;
    this.#before = before;
    this.#descriptors = descriptors();
  }

  static async start(options: TrialOptions = {}): Promise<Trial> {
    const mark = randomUUID();
    const temporary = await mkdtemp(join(tmpdir(), 'isopod-trial-'));
    // Whoever programs run as has to get to what is theirs in there.
    await chmod(temporary, 0o711);
    const before = process.env.TMPDIR;
    process.env.TMPDIR = temporary;
    const lodgings = new Lodgings({ ...options, environment: { ...options.environment, TRIAL: mark } });
    const runtime = new ProcessRuntime({ ...BOUNDS, ...options, lodgings });
    await lodgings.describe();
    return new Trial(mark, runtime, lodgings, temporary, before);
  }

  static plugin(plugin: Partial<Plugin>): Plugin {
    const dir = plugin.dir ?? FIXTURES;
    return {
      id: 'trial',
      dialect: 'stash',
      name: 'Trial',
      description: null,
      url: null,
      version: null,
      dir,
      realDir: dir,
      manifestFile: join(dir, 'trial.yml'),
      program: { runtime: 'none' },
      entries: [],
      settings: [],
      ui: null,
      errLog: null,
      ...plugin,
    };
  }

  invocation(
    exec: string[],
    { args = {}, limits = {}, plugin = {}, entry = { kind: 'operation' }, tenant = 'tenant', watch }: TrialRun,
  ): Invocation {
    const whole = Trial.plugin({ program: { runtime: 'process', exec, speaks: 'raw' }, ...plugin });
    const endpoint = { scheme: 'http', host: '0.0.0.0', port: 9999, dir: '/stash' } as const;
    return {
      id: randomUUID(),
      tenant,
      depth: 0,
      trust: tenant,
      plugin: whole,
      entry,
      args,
      limits: { ...LIMITS, ...limits },
      usualLimits: LIMITS,
      grant: NOTHING,
      endpoint,
      session: sessionOf({ graphql: async () => ({ status: 500, body: '' }) }),
      deadlineAt: performance.now() + LIMITS.wallMs,
      watch,
    };
  }

  async run(exec: string[], options: TrialRun = {}): Promise<Outcome> {
    const controller = new AbortController();
    const late = new Failure('plugin_timeout', 'Took longer than it may');
    const timer = setTimeout(() => controller.abort(late), options.deadlineMs ?? LIMITS.wallMs);
    const signal = AbortSignal.any([controller.signal, ...(options.signal ? [options.signal] : [])]);
    try {
      return await this.runtime.run(this.invocation(exec, options), signal);
    } finally {
      clearTimeout(timer);
    }
  }

  /** The output of a run that must go well, parsed. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came back
  async output(exec: string[], options: TrialRun = {}): Promise<any> {
    const outcome = await this.run(exec, options);
    assert(outcome.ok, outcome.ok ? '' : `${outcome.failure.code}: ${outcome.failure.message}`);
    return JSON.parse(outcome.output);
  }

  /** The failure of a run that must not. */
  async failure(exec: string[], options: TrialRun = {}): Promise<Failure> {
    const outcome = await this.run(exec, options);
    assert(!outcome.ok, 'it should have failed');
    return outcome.failure;
  }

  /** Processes alive that carry the mark, in their environment or in their arguments. */
  processes(): number[] {
    return marked(this.mark);
  }

  /** Asks the kernel at once, without patience: a run that has settled has left nothing. */
  async assertNothingLeft(): Promise<void> {
    assert.deepEqual(this.processes(), [], 'processes are left');
    for (const folder of await readdir(this.temporary)) {
      const files = (await readdir(join(this.temporary, folder))).filter((name) => !/^(pipe|etc)-/.test(name));
      assert.deepEqual(files, [], 'files are left');
    }
    // Closing is Node's own business and takes it a turn.
    for (let round = 0; round < 100 && descriptors() > this.#descriptors; round++) await sleep(10);
    assert(descriptors() <= this.#descriptors, `${descriptors() - this.#descriptors} descriptors are left`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runtime[Symbol.asyncDispose]();
    await this.#lodgings[Symbol.asyncDispose]();
    if (this.#before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = this.#before;
    const left = await readdir(this.temporary);
    for (const pid of this.processes()) process.kill(pid, 'SIGKILL');
    await rm(this.temporary, { recursive: true, force: true });
    assert.deepEqual(left, [], 'the runtime has left files');
  }
}

export function marked(mark: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => has(`/proc/${pid}/environ`, mark) || has(`/proc/${pid}/cmdline`, mark))
    .map(Number);
}

function has(file: string, text: string): boolean {
  try {
    return readFileSync(file, 'latin1').includes(text);
  } catch {
    return false;
  }
}

function descriptors(): number {
  return readdirSync('/proc/self/fd').length;
}
