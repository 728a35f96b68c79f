/**
 * One PostgreSQL, ours or the user's: a pool for queries, and one connection that listens. All that we keep is in the
 * schema `isopod`, so that a database may be shared.
 */
import { Kysely, PostgresDialect, sql, type Transaction } from 'kysely';
import pg from 'pg';
import { EmbeddedServer } from './embedded/server.ts';
import { Listener } from './listener.ts';
import { migrate, SCHEMA } from './migrations.ts';
import type { Tables } from './tables.ts';

export type DatabaseOptions = {
  /** The user's server; without it a private one is started below the data folder. */
  url: string | undefined;
  dataDir: string;
  /** Connections for queries. The listener has one more. */
  connections?: number;
  /** Told what takes time. */
  say?(what: string): void;
};

export type Db = Kysely<Tables>;
export type Tx = Transaction<Tables>;

// Numbers of 64 bits come as text by default; ours are counts and sizes, which fit.
const INT8 = 20;
const CONNECT_MS = 10_000;

export class Database implements AsyncDisposable {
  readonly db: Db;
  readonly pool: pg.Pool;
  readonly listener: Listener;
  readonly #scope: AsyncDisposableStack;

  private constructor(db: Db, pool: pg.Pool, listener: Listener, scope: AsyncDisposableStack) {
    this.db = db;
    this.pool = pool;
    this.listener = listener;
    this.#scope = scope;
  }

  /** Resolves when the schema is there and up to date. Errors are sentences for the operator. */
  static async open({ url, dataDir, connections = 10, say = () => {} }: DatabaseOptions): Promise<Database> {
    await using scope = new AsyncDisposableStack();
    const where = url === undefined ? scope.use(await EmbeddedServer.start(dataDir, say)).connection : server(url);
    const types = new pg.TypeOverrides();
    types.setTypeParser(INT8, Number);
    const config = {
      ...where,
      types,
      options: `-c search_path=${SCHEMA}`,
      application_name: 'isopod',
      connectionTimeoutMillis: CONNECT_MS,
    };
    const pool = new pg.Pool({ ...config, max: connections });
    // A connection that breaks while nobody uses it: the next query gets another.
    pool.on('error', () => {});
    const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
    scope.defer(() => db.destroy());
    try {
      await sql`create schema if not exists ${sql.id(SCHEMA)}`.execute(db);
    } catch (error) {
      throw new Error(`The database cannot be used: ${error instanceof Error ? error.message : error}`, {
        cause: error,
      });
    }
    await migrate(db, say);
    const listener = scope.use(await Listener.open(config));
    return new Database(db, pool, listener, scope.move());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope.disposeAsync();
  }
}

function server(url: string): pg.PoolConfig {
  return { connectionString: url };
}
