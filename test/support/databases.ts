/** Real PostgreSQL for tests: one private server for a test file, and a database of its own for whoever asks. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { EmbeddedServer } from '../../src/store/embedded/server.ts';

export class Databases implements AsyncDisposable {
  readonly #server: EmbeddedServer;
  readonly #folder: string;
  #count = 0;

  private constructor(server: EmbeddedServer, folder: string) {
    this.#server = server;
    this.#folder = folder;
  }

  static async start(): Promise<Databases> {
    const folder = await mkdtemp(join(tmpdir(), 'isopod-db-'));
    return new Databases(await EmbeddedServer.start(folder), folder);
  }

  /** The URL of a new, empty database, as a user would write it into DATABASE_URL. */
  async url(): Promise<string> {
    this.#count += 1;
    const name = `test${this.#count}`;
    const client = new pg.Client(this.#server.connection);
    await client.connect();
    await client.query(`create database ${name}`);
    await client.end();
    const { host, port, user, password } = this.#server.connection;
    return `postgresql://${user}:${password}@/${name}?host=${encodeURIComponent(String(host))}&port=${port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
