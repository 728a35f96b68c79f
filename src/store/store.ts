import { randomUUID } from 'node:crypto';
import type { TenantKeep } from '../core/tenant-store.ts';
import { backup, restore } from './backup.ts';
import { Bundles } from './bundles.ts';
import { Database, type DatabaseOptions } from './database.ts';
import { DueEvents } from './due-events.ts';
import { Events } from './events.ts';
import { Grants } from './grants.ts';
import { Adder } from './jobs/adder.ts';
import { Answers } from './jobs/answers.ts';
import { tick } from './jobs/clock.ts';
import { Desk } from './jobs/desk.ts';
import { Herald } from './jobs/herald.ts';
import { Jobs } from './jobs/jobs.ts';
import { type JobNews, NEWS_CHANNEL, newsOf, WAKE_CHANNEL } from './jobs/news.ts';
import { Queue } from './jobs/queue.ts';
import { Schedules } from './jobs/schedules.ts';
import { Triggers } from './jobs/triggers.ts';
import { keyOf } from './keys.ts';
import { Packages } from './packages.ts';
import { DuePluginRepos, PluginRepos } from './plugin-repos.ts';
import { PluginStates } from './plugin-states.ts';
import { Tenants } from './tenants.ts';
import type { Notice } from './trouble.ts';

/** What one tenant has. There is no other door to it. */
export class TenantStore implements TenantKeep {
  readonly tenant: string;
  readonly pluginStates: PluginStates;
  readonly grants: Grants;
  readonly packages: Packages;
  readonly jobs: Jobs;
  readonly schedules: Schedules;
  readonly triggers: Triggers;
  readonly answers: Answers;
  readonly events: Events;
  readonly pluginRepos: PluginRepos;

  constructor(database: Database, shared: Shared, tenant: string) {
    const { bundles, keepMs } = shared;
    const db = database.for(tenant);
    this.tenant = tenant;
    this.packages = new Packages(db, bundles, tenant);
    this.pluginStates = new PluginStates(db, tenant);
    this.grants = new Grants(db, tenant);
    this.jobs = new Jobs(db, shared, tenant);
    this.schedules = new Schedules(db, tenant);
    this.triggers = new Triggers(db, tenant);
    this.answers = new Answers(db, tenant, keepMs);
    this.events = new Events(db, tenant);
    this.pluginRepos = new PluginRepos(db, tenant);
  }
}

type Shared = { bundles: Bundles; queue: Queue; adder: Adder; herald: Herald; keepMs: number };

export type StoreOptions = DatabaseOptions & {
  /** The name of this node among those on the same database. */
  node?: string;
  /** How long jobs that have ended are kept, and idempotency keys. */
  keepMs?: number;
  /** Told of what goes wrong where nobody waits for an answer. */
  complain?(error: unknown): void;
};

// Who takes turns with whom for connections. No tenant has such a name.
const NEW_JOBS = 'new jobs';
const WORK = 'own work';
const QUEUE = 'own queue';
const WEEK_MS = 7 * 86_400_000;

/** What is kept: the tenants, for each of them a store of its own, and the desk where nodes fetch jobs. */
export class Store implements AsyncDisposable {
  readonly tenants: Tenants;
  readonly bundles: Bundles;
  readonly desk: Desk;
  readonly dueEvents: DueEvents;
  readonly duePluginRepos: DuePluginRepos;
  readonly #database: Database;
  readonly #shared: Shared;

  private constructor(database: Database, shared: Shared, node: string) {
    const { bundles, keepMs } = shared;
    this.#database = database;
    this.#shared = shared;
    this.tenants = new Tenants(database.db);
    this.bundles = bundles;
    this.desk = new Desk(database.own(WORK), shared, { node, keepMs });
    this.dueEvents = new DueEvents(database.own(WORK), shared);
    this.duePluginRepos = new DuePluginRepos(database.own(WORK));
  }

  static async open(options: StoreOptions): Promise<Store> {
    const { node = randomUUID(), keepMs = WEEK_MS, complain = () => {}, ...rest } = options;
    await using scope = new AsyncDisposableStack();
    const database = scope.use(await Database.open(rest));
    const queue = await Queue.open(database.own(QUEUE), complain);
    const herald = new Herald(database.own(WORK));
    const adder = new Adder(database.for(NEW_JOBS), queue, herald, keepMs);
    scope.move();
    return new Store(database, { bundles: new Bundles(database.db), queue, adder, herald, keepMs }, node);
  }

  /** Why nothing can be looked up or kept now, in words; null where it can. */
  get trouble(): string | null {
    return this.#database.trouble.isOn ? 'The database cannot be reached' : null;
  }

  /** Tells the operator's part of it: when the database goes away, and why, and when it is back. */
  onNotice(hear: (notice: Notice) => void): Disposable {
    return this.#database.trouble.hear(hear);
  }

  /** What all nodes sign with, work out users from, and know the cookies of their callers by. */
  key(name: 'gateway' | 'identity' | 'csrf'): Promise<Buffer> {
    return keyOf(this.#database.own(WORK), name);
  }

  of(tenant: string): TenantStore {
    return new TenantStore(this.#database, this.#shared, tenant);
  }

  /**
   * Tells what has changed, on whichever node: the table and the tenant; `undefined` when changes may have gone
   * unheard, so that everything has to be looked at again.
   */
  onChange(hear: (change: { table: string; tenant: string } | undefined) => void): Promise<Disposable> {
    return this.#database.listener.listen(
      'isopod_changes',
      (payload) => {
        const [table = '', tenant = ''] = payload.split(' ');
        hear({ table, tenant });
      },
      () => hear(undefined),
    );
  }

  /** Tells what happens to jobs, on whichever node; `undefined` when something may have gone unheard. */
  onJobs(hear: (news: { what: JobNews; ids: string[] } | undefined) => void): Promise<Disposable> {
    return this.#database.listener.listen(
      NEWS_CHANNEL,
      (payload) => hear(newsOf(payload)),
      () => hear(undefined),
    );
  }

  /** Tells that there may be a job to claim. */
  onWake(hear: () => void): Promise<Disposable> {
    return this.#database.listener.listen(WAKE_CHANNEL, hear, hear);
  }

  /** Makes the jobs of schedules whose time has come. Gives the number of schedules. */
  tick(now = new Date()): Promise<number> {
    return tick(this.#shared.herald, this.#shared.adder, now);
  }

  /** Writes all that is kept to a file; see backup.ts. */
  backup(file: string): Promise<number> {
    return this.#database.unhurried((db) => backup(db, file));
  }

  /** Puts such a file back into a store that holds nothing yet. */
  restore(file: string, say: (what: string) => void = () => {}): Promise<number> {
    return this.#database.unhurried((db) => restore(db, file, say));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#shared.herald[Symbol.asyncDispose]();
    await this.#shared.queue[Symbol.asyncDispose]();
    await this.#database[Symbol.asyncDispose]();
  }
}
