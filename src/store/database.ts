/**
 * One PostgreSQL, ours or the user's: a pool for what callers ask, a small one for what this node does by itself, which
 * callers cannot keep it from, and one connection that listens. All that we keep is in the schema `isopod`, so that a
 * database may be shared.
 */
import { Kysely, PostgresDialect, type PostgresPool, sql, type Transaction } from 'kysely';
import pg from 'pg';
import { Failure } from '../core/failure.ts';
import { Connections } from './connections.ts';
import { EmbeddedServer } from './embedded/server.ts';
import { Listener } from './listener.ts';
import { migrate, SCHEMA } from './migrations.ts';
import type { Tables } from './tables.ts';
import { inTurn } from './transaction.ts';
import { Trouble } from './trouble.ts';

export type DatabaseOptions = {
  /** The user's server; without it a private one is started below the data folder. */
  url: string | undefined;
  dataDir: string;
  /** Connections for what callers ask, at most. The node's own work and the listener have a few more. */
  connections?: number;
  /** Told what takes time. */
  say?(what: string): void;
};

export type Db = Kysely<Tables>;
export type Tx = Transaction<Tables>;

// Numbers of 64 bits come as text by default; ours are counts and sizes, which fit.
const INT8 = 20;
const CONNECT_MS = 10_000;
/** Of these the jobs of this node have two thirds, and its signs of life the rest. */
const OWN_MOST = 4;
const UNHURRIED_MOST = 2;
const STATEMENT_MS = 30_000;
/** By then the server has said that it took too long, if it is there. */
const ANSWER_MS = STATEMENT_MS + 5_000;
const TURN = 'isopod schema';
const SEARCH_PATH = `-c search_path=${SCHEMA}`;
const HURRY = `-c statement_timeout=${STATEMENT_MS} -c idle_in_transaction_session_timeout=${STATEMENT_MS}`;

export class Database implements AsyncDisposable {
  /** Takes its turn with the tenants. */
  readonly db: Db;
  readonly connections: Connections;
  readonly listener: Listener;
  readonly trouble: Trouble;
  readonly #own: Connections;
  readonly #config: pg.ClientConfig;
  readonly #scope: AsyncDisposableStack;

  private constructor({ db, connections, own, listener, trouble, config, scope }: Inside) {
    this.db = db;
    this.connections = connections;
    this.listener = listener;
    this.trouble = trouble;
    this.#own = own;
    this.#config = config;
    this.#scope = scope;
  }

  /** Resolves when the schema is there and up to date. Errors are sentences for the operator. */
  static async open({ url, dataDir, connections: most = 10, say = () => {} }: DatabaseOptions): Promise<Database> {
    await using scope = new AsyncDisposableStack();
    const trouble = new Trouble();
    const complain = (what: string, words: string) => trouble.complain(what, words);
    const where =
      url === undefined
        ? { ...scope.use(await EmbeddedServer.start({ dataDir, say, complain })).connection, options: SEARCH_PATH }
        : server(url);
    const types = new pg.TypeOverrides();
    types.setTypeParser(INT8, Number);
    const config = { ...where, types, application_name: 'isopod' };
    await unhurried(config, async (db) => {
      try {
        // Not even "if not exists" may be said by two at the same time.
        await inTurn(db, TURN, () => sql`create schema if not exists ${sql.id(SCHEMA)}`.execute(db));
      } catch (error) {
        throw new Error(`The database cannot be used: ${wordsOf(error)}`, { cause: error });
      }
      await inTurn(db, TURN, () => migrate(db, say));
    });
    const hurried = { ...config, options: `${config.options} ${HURRY}` };
    const connections = new Connections({ ...hurried, most, connectMs: CONNECT_MS, answerMs: ANSWER_MS });
    scope.defer(() => connections.end());
    const own = new Connections({ ...hurried, most: OWN_MOST, connectMs: CONNECT_MS, answerMs: ANSWER_MS });
    scope.defer(() => own.end());
    const db = kysely(connections);
    const listener = scope.use(
      await Listener.open({ ...config, connectionTimeoutMillis: CONNECT_MS }, (error) =>
        error === undefined ? trouble.end() : trouble.begin(error),
      ),
    );
    return new Database({ db, connections, own, listener, trouble, config, scope: scope.move() });
  }

  /** For what a tenant asks, or for what is asked for several together: `who` takes turns with others of another name. */
  for(who: string): Db {
    return kysely(connectionsOf(this.connections, who));
  }

  /** For what this node does by itself, whatever callers ask; `what` takes turns with what has another name. */
  own(what: string): Db {
    return kysely(connectionsOf(this.#own, what));
  }

  /** For what takes as long as it takes: on connections of its own, which wait for every answer. */
  unhurried<R>(work: (db: Db) => Promise<R>): Promise<R> {
    return unhurried(this.#config, work);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope.disposeAsync();
  }
}

type Inside = {
  db: Db;
  connections: Connections;
  own: Connections;
  listener: Listener;
  trouble: Trouble;
  config: pg.ClientConfig;
  scope: AsyncDisposableStack;
};

async function unhurried<R>(config: pg.ClientConfig, work: (db: Db) => Promise<R>): Promise<R> {
  const db = kysely(new Connections({ ...config, most: UNHURRIED_MOST, connectMs: CONNECT_MS }));
  try {
    return await work(db);
  } finally {
    await db.destroy();
  }
}

type Pool = Pick<Connections, 'connect' | 'end'>;

function connectionsOf(connections: Connections, who: string): Pool {
  return { connect: () => connections.connect(who), end: () => connections.end() };
}

function kysely(connections: Pool): Db {
  // All but cursors, which nobody here asks for.
  const pool = connections as unknown as PostgresPool;
  return new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
}

function server(url: string): pg.ClientConfig {
  // What is said in the URL counts for more than what is said beside it, and both have to be.
  const own = /[?&]options=([^&]*)/.exec(url);
  if (own === null) return { connectionString: url, options: SEARCH_PATH };
  const options = `${decodeURIComponent(own[1] ?? '')} ${SEARCH_PATH}`;
  return { connectionString: url.replace(/([?&])options=[^&]*/, '$1'), options };
}

/** What it says itself: the failure around it says to everybody only that it cannot be reached. */
function wordsOf(error: unknown): string {
  const cause = error instanceof Failure ? (error.cause ?? error) : error;
  if (cause instanceof AggregateError) return cause.errors.map(wordsOf).join('; ');
  return cause instanceof Error ? cause.message : String(cause);
}
