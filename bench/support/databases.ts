import pg from 'pg';
import { EmbeddedServer } from '../../src/store/embedded/server.ts';

/** A private PostgreSQL of the bench, as a service of ours would start one, and databases on it. */
export class Databases implements AsyncDisposable {
  readonly #dataDir: string;
  #server: Promise<EmbeddedServer> | undefined;
  #made = 0;

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
  }

  /** An empty one, as it stands in DATABASE_URL. */
  async create(): Promise<string> {
    this.#server ??= EmbeddedServer.start({ dataDir: this.#dataDir });
    const { connection } = await this.#server;
    this.#made += 1;
    const name = `bench_${this.#made}`;
    const client = new pg.Client(connection);
    await client.connect();
    await client.query(`create database ${name}`).finally(() => client.end());
    const { host, port, user, password } = connection;
    return `postgresql://${user}:${password}@/${name}?host=${encodeURIComponent(String(host))}&port=${port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#server)?.[Symbol.asyncDispose]();
  }
}
