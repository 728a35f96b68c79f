/**
 * The connections to the database, and the one place where its errors become failures of ours: whatever comes from here
 * is a row, a Failure, or an error about the statement itself (a violated constraint, say), which is its author's
 * business and comes as the driver gave it.
 */
import pg from 'pg';
import { Failure } from '../core/failure.ts';
import { first, Lines, mayTake } from '../core/fairness.ts';
import { failureToConnect, failureToExecute, isLoss, noConnectionFree, type Shortfall } from './unreachable.ts';

export type ConnectionsOptions = pg.ClientConfig & {
  /** Of them there are so many at most. */
  most: number;
  /** How long one waits for a connection, be it a new one or one that is in use. */
  connectMs: number;
  /** After so long without an answer the server is taken for gone; it should have said something itself before. */
  answerMs?: number;
};

/** So many may wait for a connection; more would only be a longer way to the same refusal. */
const WAITING_MOST = 1_000;
/** A peer that went away without a word is noticed in this time and ten seconds. */
const KEEP_ALIVE_MS = 10_000;
/** Timers may be early by so much. */
const TIMERS_MS = 2;

export class Connections {
  readonly #pool: pg.Pool;
  readonly #most: number;
  readonly #connectMs: number;
  readonly #answerMs: number | undefined;
  readonly #broken = new WeakMap<pg.PoolClient, Error>();
  readonly #lines = new Lines<string, Waiter>();
  /** How many each has now. */
  readonly #used = new Map<string, number>();
  #inUse = 0;

  constructor({ most, connectMs, answerMs, ...config }: ConnectionsOptions) {
    this.#pool = new pg.Pool({
      ...config,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
      max: most,
      connectionTimeoutMillis: connectMs,
      ...(answerMs === undefined ? {} : { query_timeout: answerMs }),
    });
    this.#most = most;
    this.#connectMs = connectMs;
    this.#answerMs = answerMs;
    // A connection that breaks while nobody uses it: the next query gets another.
    this.#pool.on('error', () => {});
    // It may break between two queries of a transaction, too. Then the next of them is told.
    this.#pool.on('connect', (client) => client.on('error', (error) => this.#broken.set(client, error)));
  }

  /**
   * One of them, to be released. Those who wait do it in lines, one for each `who`; the lines take turns, and nobody has
   * more than twice of what is left to the others. Rejects with a Failure.
   */
  async connect(who = ''): Promise<Connection> {
    if (this.#lines.size === 0 && this.#hasRoom(who)) this.#enter(who);
    else await this.#wait(who);
    let client: pg.PoolClient;
    try {
      client = await this.#pool.connect();
    } catch (error) {
      this.#leave(who);
      throw failureToConnect(error);
    }
    return new Connection(client, this.#answerMs, {
      broken: () => this.#broken.get(client),
      released: () => this.#leave(who),
    });
  }

  /** One statement on any of them. */
  async query<R extends pg.QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<pg.QueryResult<R>> {
    const connection = await this.connect();
    try {
      return await connection.query<R>(text, values);
    } finally {
      connection.release();
    }
  }

  /** Resolves when all of them have been given back and are closed. */
  async end(): Promise<void> {
    await this.#pool.end();
  }

  #hasRoom(who: string): boolean {
    return mayTake(this.#used.get(who) ?? 0, this.#most - this.#inUse);
  }

  #enter(who: string): void {
    this.#inUse += 1;
    this.#used.set(who, (this.#used.get(who) ?? 0) + 1);
  }

  #leave(who: string): void {
    this.#inUse -= 1;
    const used = (this.#used.get(who) ?? 0) - 1;
    if (used > 0) this.#used.set(who, used);
    else this.#used.delete(who);
    this.#admit();
  }

  #admit(): void {
    for (;;) {
      const next = this.#lines.next((line, who) => (this.#hasRoom(who) ? first(line) : undefined));
      if (next === undefined) return;
      next.admit();
    }
  }

  #wait(who: string): Promise<void> {
    if (this.#lines.size >= WAITING_MOST && !this.#makeRoom(who)) return Promise.reject(this.#noneFree(who));
    return new Promise((resolve, reject) => {
      const refuse = () => {
        clearTimeout(timer);
        this.#lines.delete(who, waiter);
        reject(this.#noneFree(who));
      };
      const timer = setTimeout(refuse, this.#connectMs);
      const admit = () => {
        clearTimeout(timer);
        this.#enter(who);
        resolve();
      };
      const waiter: Waiter = { admit, refuse };
      this.#lines.add(who, waiter);
      // Those who wait may all have as much as they may.
      this.#admit();
    });
  }

  /** The newest of the longest line gives way to one whose line is shorter. */
  #makeRoom(who: string): boolean {
    let longest: ReadonlySet<Waiter> = new Set();
    let own = 0;
    for (const [key, line] of this.#lines) {
      if (line.size > longest.size) longest = line;
      if (key === who) own = line.size;
    }
    if (own >= longest.size) return false;
    [...longest].at(-1)?.refuse();
    return true;
  }

  #noneFree(who: string): Failure {
    const shortfall: Shortfall = { most: this.#most, inUse: this.#inUse, own: this.#used.get(who) ?? 0 };
    return noConnectionFree(shortfall);
  }
}

type Waiter = { admit(): void; refuse(): void };

type Circumstances = { broken(): Error | undefined; released(): void };

/** A connection from its being taken to its being given back. */
export class Connection {
  readonly #client: pg.PoolClient;
  readonly #answerMs: number | undefined;
  readonly #circumstances: Circumstances;
  #lost: Failure | undefined;

  constructor(client: pg.PoolClient, answerMs: number | undefined, circumstances: Circumstances) {
    this.#client = client;
    this.#answerMs = answerMs;
    this.#circumstances = circumstances;
  }

  async query<R>(text: string, values: readonly unknown[]): Promise<pg.QueryResult<R & pg.QueryResultRow>> {
    // What was said first stands: after a commit that nobody answered, a rollback that fails proves nothing.
    if (this.#lost !== undefined) throw this.#lost;
    const startedAt = performance.now();
    const status = this.#client.getTransactionStatus();
    try {
      return await this.#client.query<R & pg.QueryResultRow>(text, [...values]);
    } catch (error) {
      const broken = this.#circumstances.broken();
      const isLate = performance.now() - startedAt > (this.#answerMs ?? Infinity) - TIMERS_MS;
      const isLost = broken !== undefined || isLate || isLoss(error);
      const failure = failureToExecute(error, { text, isLost, inTransaction: status === 'T' || status === 'E' });
      if (isLost && failure instanceof Failure) this.#lost = failure;
      throw failure;
    }
  }

  /** Gives it back; one that is lost, or that somebody has left in the middle of a transaction, is not used again. */
  release(destroy = false): void {
    this.#client.release(destroy || this.#lost !== undefined || this.#client.getTransactionStatus() !== 'I');
    this.#circumstances.released();
  }
}
