/** Scripts as plugins of the isolate runtime, each run in the way that the test asks for. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutorsOptions } from '../../../runtimes/isolate/executors.ts';
import { IsolateRuntime } from '../../../runtimes/isolate/runtime.ts';
import { Failure } from '../../../src/core/failure.ts';
import { NOTHING } from '../../../src/core/grant.ts';
import type { Limits } from '../../../src/core/limits.ts';
import type { Outcome, Watch } from '../../../src/core/outcome.ts';
import type { Entry, Plugin } from '../../../src/core/plugin.ts';
import type { Session } from '../../../src/core/session.ts';
import { sessionOf } from '../../support/session.ts';

const LIMITS: Limits = {
  wallMs: 20_000,
  cpuMs: 10_000,
  bootMs: 10_000,
  heapMb: 64,
  residentMb: 512,
  outputBytes: 1_048_576,
  logBytes: 262_144,
  logLines: 1_000,
  hostCalls: 100,
  hostCallsAtOnce: 1,
};

const TASK: Entry = { kind: 'task', name: 'Run', description: '', execArgs: [], defaultArgs: {} };
/** Who answers what a script asks. */
export type Callee = Pick<Session, 'graphql'>;

const NOBODY: Callee = { graphql: async () => ({ status: 404, body: 'nobody is there' }) };

/** How often a script is run in the hope that it is promoted, before its way is taken as it is. */
const PROMOTION_RUNS = 60;

export type ScriptRun = {
  args?: Record<string, unknown>;
  application?: Callee;
  entry?: Entry;
  signal?: AbortSignal;
  watch?: Watch;
  tenant?: string;
  /** The trust group of the tenant; without it the tenant trusts nobody. */
  trust?: string;
  /** Aborts it with `plugin_timeout` after so long. */
  deadlineMs?: number;
};

export class Scripts implements AsyncDisposable {
  readonly runtime: IsolateRuntime;
  readonly #dir: string;
  #count = 0;

  private constructor(dir: string, only: 'fresh' | 'long' | undefined, more: Partial<ExecutorsOptions>) {
    this.#dir = dir;
    const executors = {
      spares: 1,
      most: 8,
      perTenant: 8,
      memoryMb: 8_192,
      recycleRuns: 100_000,
      recycleMs: 3_600_000,
      recycleMb: 1024,
      idleMs: 60_000,
      ...more,
    };
    this.runtime = new IsolateRuntime({ executors, ...(only === undefined ? {} : { only }) });
  }

  static async open(only?: 'fresh' | 'long', more: Partial<ExecutorsOptions> = {}): Promise<Scripts> {
    return new Scripts(await mkdtemp(join(tmpdir(), 'isopod-scripts-')), only, more);
  }

  async add(source: string | Buffer): Promise<Plugin> {
    this.#count += 1;
    const file = `script-${this.#count}.js`;
    await writeFile(join(this.#dir, file), source);
    return {
      id: `script-${this.#count}`,
      dialect: 'stash',
      name: 'Demo',
      description: null,
      url: null,
      version: null,
      dir: this.#dir,
      realDir: this.#dir,
      manifestFile: join(this.#dir, 'demo.yml'),
      program: { runtime: 'isolate', file },
      entries: [],
      settings: [],
      ui: null,
      errLog: null,
    };
  }

  async run(plugin: Plugin, run: ScriptRun = {}): Promise<Outcome> {
    const { args = {}, application = NOBODY, entry = TASK, tenant = 'demo', trust = tenant, watch } = run;
    const deadline = new AbortController();
    const late = new Failure('plugin_timeout', 'Took longer than it may');
    const timer = setTimeout(() => deadline.abort(late), run.deadlineMs ?? LIMITS.wallMs);
    const signal = AbortSignal.any([deadline.signal, ...(run.signal === undefined ? [] : [run.signal])]);
    const endpoint = { scheme: 'http', host: 'localhost', port: 9999, dir: '/stash' } as const;
    const invocation = {
      id: 'one',
      tenant,
      depth: 0,
      trust,
      plugin,
      entry,
      args,
      limits: LIMITS,
      usualLimits: LIMITS,
      grant: NOTHING,
      endpoint,
      session: sessionOf(application),
      deadlineAt: performance.now() + LIMITS.wallMs,
      watch,
    };
    return this.runtime.run(invocation, signal).finally(() => clearTimeout(timer));
  }

  /** Runs it until it is known in which way it is run from now on, and tells that. */
  async settled(plugin: Plugin, run: ScriptRun): Promise<{ way: string; because: string }> {
    let failures = 0;
    for (let times = 0; ; times += 1) {
      if (!(await this.run(plugin, run)).ok) failures += 1;
      const explanation = await this.runtime.explain('demo', plugin);
      const unknown = explanation.because === 'it has not been run often enough to know it';
      // What fails is never promoted.
      if (!unknown || failures > 2 || times > PROMOTION_RUNS) return explanation;
      if (times > 1) await sleep(10);
    }
  }

  /** Executors keep nothing of the scripts so far. */
  forget(): void {
    this.runtime.retain('demo', new Set());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runtime[Symbol.asyncDispose]();
    await rm(this.#dir, { recursive: true, force: true });
  }
}

/** What a caller can see of a run, without what it cost. */
export function seen(outcome: Outcome): Record<string, unknown> {
  const logs = outcome.logs.map(({ level, message }) => `${level}: ${message}`);
  const told = { logs, progress: outcome.progress };
  if (outcome.ok) return { output: JSON.parse(outcome.output), ...told };
  const { code, message, details } = outcome.failure;
  const { pluginError, output } = details;
  return { code, message, error: pluginError && [pluginError.name, pluginError.message], output, ...told };
}
