/** Plugins that answer requests, in their rooms, without the service around them. */
import { randomUUID } from 'node:crypto';
import { chmod, cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { type IncomingHttpHeaders, request } from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { NodeRuntime, type NodeRuntimeOptions } from '../../runtimes/node/runtime.ts';
import type { Failure } from '../../src/core/failure.ts';
import { type Grant, NOTHING } from '../../src/core/grant.ts';
import type { Limits } from '../../src/core/limits.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import type { Residency } from '../../src/core/resident.ts';
import type { Visit, Visitor } from '../../src/core/serving.ts';
import { Lodgings, type LodgingsOptions } from '../../src/programs/lodgings.ts';
import { ResidentPool, type ResidentPoolOptions } from '../../src/programs/resident-pool.ts';
import { LIMITS, RecordedDesk, silent } from './residents.ts';

const NODE_FIXTURES = resolve(import.meta.dirname, '../fixtures/node');

export type Asking = {
  method?: string;
  body?: unknown;
  tenant?: string;
  limits?: Partial<Limits>;
  visitor?: Visitor;
};
export type Told = {
  /** 0 where the connection ended without an answer. */
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  /** What the visit says went wrong. */
  failure: Failure | null;
  verdict: ReturnType<Visit['verdictOf']>;
};

/** A runtime whose residents' folders lie in one of the test's own. */
export class ServerTrial implements AsyncDisposable {
  readonly runtime: NodeRuntime;
  readonly pool: ResidentPool;
  readonly desk = new RecordedDesk();
  /** Of what its residents have died. */
  readonly deaths: Failure[] = [];
  readonly folder: string;
  /** What its plugins are granted; set it before the first request. */
  grant: Grant = NOTHING;
  readonly #lodgings: Lodgings;
  readonly #residencies = new Map<string, Residency>();

  private constructor(folder: string, lodgings: Lodgings, pool: ResidentPool, runtime: NodeRuntime) {
    this.folder = folder;
    this.#lodgings = lodgings;
    this.pool = pool;
    this.runtime = runtime;
  }

  static async start(
    options: Partial<NodeRuntimeOptions & ResidentPoolOptions> & LodgingsOptions = {},
  ): Promise<ServerTrial> {
    const folder = await mkdtemp(join(tmpdir(), 'isopod-servers-'));
    await chmod(folder, 0o755);
    const lodgings = new Lodgings(options);
    const bounds = { most: 8, perTenant: 8, memoryMb: 2_048, idleMs: 0, deaths: 3, windowMs: 60_000 };
    const pool = new ResidentPool({ ...bounds, ...options });
    const runtime = new NodeRuntime({
      graceMs: 800,
      stopMs: 2_000,
      blockedMs: 10_000,
      dataMb: 64,
      bodyBytes: 10_000_000,
      ...options,
      lodgings,
      pool,
    });
    return new ServerTrial(folder, lodgings, pool, runtime);
  }

  /** Of a fixture that is a folder, or a file. */
  residency(fixture: string, { tenant = 'tenant', limits = {} }: Asking = {}): Residency {
    const key = JSON.stringify([fixture, tenant, limits]);
    const known = this.#residencies.get(key);
    if (known !== undefined) return known;
    const isFile = /\.[cm]?js$/.test(fixture);
    const from = join(NODE_FIXTURES, fixture);
    const root = join(this.folder, tenant, fixture);
    const home = { code: join(root, 'code', isFile ? 'plugins' : fixture), data: join(root, 'data') };
    const residency: Residency = {
      tenant,
      plugin: pluginOf(fixture, isFile ? fixture : null),
      grant: this.grant,
      limits: { ...LIMITS, bootMs: 15_000, ...limits },
      endpoint: { scheme: 'http', host: '127.0.0.1', port: 9_999, dir: '/sillytavern' },
      home: async () => {
        await mkdir(home.data, { recursive: true });
        await cp(from, isFile ? join(home.code, fixture) : home.code, { recursive: true, force: false });
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

  async enter(fixture: string, asking: Asking = {}): Promise<Visit> {
    const { visitor = { handle: 'default-user', name: 'User', admin: true } } = asking;
    const late = AbortSignal.timeout(25_000);
    return await this.runtime.enter(this.residency(fixture, asking), { id: randomUUID(), visitor }, late);
  }

  /** One request, over a connection of its own; `path` is a whole one. */
  async ask(fixture: string, path: string, asking: Asking = {}): Promise<Told> {
    using visit = await this.enter(fixture, asking);
    const socket = await visit.upstream.dial();
    const { method = 'GET', body } = asking;
    const text = body === undefined ? '' : JSON.stringify(body);
    const { promise, resolve } = Promise.withResolvers<Omit<Told, 'failure' | 'verdict'>>();
    const headers = {
      ...visit.headers,
      connection: 'close',
      ...(body === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(text)) }),
    };
    const lost = () => resolve({ status: 0, headers: {}, text: '' });
    const sent = request({ method, path, headers, createConnection: () => socket as Socket }, (response) => {
      let all = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        all += chunk;
      });
      const done = () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text: all });
      response.on('end', done).on('error', done);
    });
    sent.on('error', lost).end(text);
    const told = await promise;
    return { ...told, failure: visit.failure, verdict: visit.verdictOf(told.headers) };
  }

  /** What its plugin has logged. */
  logs(fixture: string, tenant = 'tenant'): string {
    return this.pool
      .logs(tenant, fixture)
      .map(({ level, message }) => `${level} ${message}`)
      .join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool[Symbol.asyncDispose]();
    await this.runtime[Symbol.asyncDispose]();
    await this.#lodgings[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }
}

function pluginOf(id: string, file: string | null): Plugin {
  const dir = join(NODE_FIXTURES, id);
  return {
    id,
    dialect: 'sillytavern',
    name: id,
    description: null,
    url: null,
    version: null,
    dir,
    realDir: dir,
    manifestFile: join(dir, 'package.json'),
    program: { runtime: 'node', file },
    entries: [],
    settings: [],
    ui: null,
    errLog: null,
    portrait: null,
  };
}
