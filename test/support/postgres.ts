/** One private PostgreSQL for all tests that are run together; see databases.ts for what they get of it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import type { TestProject } from 'vitest/node';
import { EmbeddedServer } from '../../src/store/embedded/server.ts';
import { Store } from '../../src/store/store.ts';
import { TEMPLATE, urlOf } from './databases.ts';

declare module 'vitest' {
  interface ProvidedContext {
    postgres: pg.ClientConfig;
  }
}

export default async function setup({ provide }: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'isopod-postgres-'));
  const server = await EmbeddedServer.start({ dataDir: folder });
  const client = new pg.Client(server.connection);
  await client.connect();
  await client.query(`create database ${TEMPLATE}`);
  await client.end();
  // The tables are made once; a copy of them takes less time.
  const store = await Store.open({ url: urlOf(server.connection, TEMPLATE), dataDir: folder });
  await store[Symbol.asyncDispose]();
  provide('postgres', server.connection);
  return async () => {
    await server[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  };
}
