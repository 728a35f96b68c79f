import { randomUUID } from 'node:crypto';
import { chmod, cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { PythonRuntime, type PythonRuntimeOptions } from '../../runtimes/python/runtime.ts';
import { Failure } from '../../src/core/failure.ts';
import { type Grant, NOTHING } from '../../src/core/grant.ts';
import type { Invocation } from '../../src/core/invocation.ts';
import type { Limits } from '../../src/core/limits.ts';
import type { LogLine, Outcome, Watch } from '../../src/core/outcome.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import type { Portrait } from '../../src/core/portrait.ts';
import type { Desk, OwnJob, Residency, Update } from '../../src/core/resident.ts';
import type { Session } from '../../src/core/session.ts';
import { Lodgings, type LodgingsOptions } from '../../src/programs/lodgings.ts';
import { ResidentPool, type ResidentPoolOptions } from '../../src/programs/resident-pool.ts';

export const PYTHON_FIXTURES = new URL('../fixtures/python/', import.meta.url).pathname;

export const LIMITS: Limits = {
  wallMs: 20_000,
  cpuMs: 20_000,
  bootMs: 10_000,
  heapMb: 128,
  residentMb: 256,
  outputBytes: 65_536,
  logBytes: 65_536,
  logLines: 100,
  hostCalls: 10,
  hostCallsAtOnce: 2,
};

/** What a resident has told its desk, and what it finds there. */
export class RecordedDesk implements Desk {
  readonly portraits: Portrait[] = [];
  readonly updates: Update[] = [];
  readonly jobs: OwnJob[] = [];
  stored: Record<string, unknown> = {};
  secret: string[] = [];
  settings = () => this.stored;
  secrets = () => this.secret;
  configure = async (settings: Record<string, unknown>) => {
    this.stored = settings;
  };
  described = (portrait: Portrait) => void this.portraits.push(portrait);
  updated = (update: Update) => void this.updates.push(update);
  enqueue = async (wish: OwnJob) => {
    this.jobs.push(wish);
    return `job-${this.jobs.length}`;
  };
}

export type Asked = {
  tenant?: string;
  limits?: Partial<Limits>;
  signal?: AbortSignal;
  watch?: Watch;
  wallMs?: number;
};

/** A runtime of residents whose folders lie in one of the test's own. */
export class ResidentTrial implements AsyncDisposable {
  readonly runtime: PythonRuntime;
  readonly desk = new RecordedDesk();
  /** Of what its residents have died. */
  readonly deaths: Failure[] = [];
  readonly folder: string;
  /** What its plugins are granted; set it before the first run. */
  grant: Grant = NOTHING;
  readonly #lodgings: Lodgings;
  readonly #pool: ResidentPool;
  readonly #plugins = new Map<string, Plugin>();
  readonly #residencies = new Map<string, Residency>();

  private constructor(folder: string, lodgings: Lodgings, pool: ResidentPool, runtime: PythonRuntime) {
    this.#pool = pool;
    this.folder = folder;
    this.#lodgings = lodgings;
    this.runtime = runtime;
  }

  static async start(
    options: Partial<PythonRuntimeOptions & ResidentPoolOptions> & LodgingsOptions = {},
  ): Promise<ResidentTrial> {
    const folder = await mkdtemp(join(tmpdir(), 'isopod-residents-'));
    await chmod(folder, 0o755);
    const lodgings = new Lodgings(options);
    const bounds = { most: 8, perTenant: 8, memoryMb: 2_048, idleMs: 0, deaths: 3, windowMs: 60_000 };
    const pool = new ResidentPool({ ...bounds, ...options });
    const runtime = new PythonRuntime({
      graceMs: 800,
      stopMs: 2_000,
      dataMb: 64,
      shim: 'on',
      version: '0.31.0',
      applicationOf: () => null,
      ...options,
      lodgings,
      pool,
    });
    return new ResidentTrial(folder, lodgings, pool, runtime);
  }

  plugin(fixture: string): Plugin {
    const known = this.#plugins.get(fixture);
    if (known !== undefined) return known;
    const dir = join(PYTHON_FIXTURES, fixture);
    const plugin: Plugin = {
      id: fixture,
      dialect: 'dispatcharr',
      name: fixture,
      description: null,
      url: null,
      version: null,
      dir,
      realDir: dir,
      manifestFile: join(dir, 'plugin.json'),
      program: { runtime: 'python' },
      entries: [],
      settings: [],
      ui: null,
      errLog: null,
      portrait: null,
    };
    this.#plugins.set(fixture, plugin);
    return plugin;
  }

  residency(fixture: string, { tenant = 'tenant', limits = {} }: Asked = {}): Residency {
    const key = JSON.stringify([fixture, tenant, limits]);
    const known = this.#residencies.get(key);
    if (known !== undefined) return known;
    const plugin = this.plugin(fixture);
    const root = join(this.folder, tenant, fixture);
    const home = { code: join(root, 'code', basename(plugin.dir)), data: join(root, 'data') };
    const residency: Residency = {
      tenant,
      plugin,
      grant: this.grant,
      limits: { ...LIMITS, ...limits },
      endpoint: { scheme: 'http', host: '127.0.0.1', port: 9_999, dir: '/dispatcharr' },
      home: async () => {
        await mkdir(home.data, { recursive: true });
        await cp(plugin.dir, home.code, { recursive: true, force: false, errorOnExist: false });
        return home;
      },
      assertWanted: () => {},
      openSession: () => silent(),
      desk: this.desk,
      died: (failure) => void this.deaths.push(failure),
    };
    this.#residencies.set(key, residency);
    return residency;
  }

  async run(fixture: string, action: string, args: unknown = {}, asked: Asked = {}): Promise<Outcome> {
    const residency = this.residency(fixture, asked);
    const { limits } = residency;
    const wallMs = asked.wallMs ?? limits.wallMs;
    const deadline = new AbortController();
    const late = new Failure('plugin_timeout', 'Too slow');
    const timer = setTimeout(() => deadline.abort(late), wallMs);
    const signal = asked.signal === undefined ? deadline.signal : AbortSignal.any([deadline.signal, asked.signal]);
    const invocation: Invocation = {
      id: randomUUID(),
      tenant: residency.tenant,
      depth: 0,
      trust: residency.tenant,
      plugin: residency.plugin,
      entry: { kind: 'action', name: action, label: action, description: '', triggeredBy: [] },
      args: args as Record<string, unknown>,
      limits: { ...limits, wallMs },
      usualLimits: limits,
      grant: NOTHING,
      endpoint: residency.endpoint,
      session: silent(),
      residency,
      deadlineAt: performance.now() + wallMs,
      watch: asked.watch,
    };
    try {
      return await this.runtime.run(invocation, signal);
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool[Symbol.asyncDispose]();
    await this.runtime[Symbol.asyncDispose]();
    await this.#lodgings[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }
}

export function outputOf(outcome: Outcome): unknown {
  if (!outcome.ok) throw outcome.failure;
  return JSON.parse(outcome.output);
}

export function failureOf(outcome: Outcome): Failure {
  if (outcome.ok) throw new Error(`It went well: ${outcome.output}`);
  return outcome.failure;
}

export function messages(logs: readonly LogLine[]): string[] {
  return logs.map(({ message }) => message);
}

export function silent(): Session {
  return {
    cookie: '',
    calls: 0,
    waitedMs: 0,
    graphql: async () => ({ status: 200, body: '{}' }),
    runsAs: () => {},
    admit: (connection) => void connection.on('error', () => {}).end(),
    handOver: () => {},
    end: () => {},
  };
}
