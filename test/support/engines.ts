/** The two kinds of PostgreSQL that a store is kept on: the private server that we start, and one of the user's. */
import { strict as assert } from 'node:assert';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Failure } from '../../src/core/failure.ts';
import { Store, type StoreOptions } from '../../src/store/store.ts';
import { testDatabase } from './databases.ts';

export type Engine = 'embedded' | 'server';

export const ENGINES: readonly Engine[] = ['embedded', 'server'];

/** An empty store, which ends with the scope. */
export async function openStoreOn(
  engine: Engine,
  scope: AsyncDisposableStack,
  options: Partial<StoreOptions> = {},
): Promise<Store> {
  if (engine === 'server') {
    const { url } = scope.use(await testDatabase('empty'));
    return scope.use(await Store.open({ url, dataDir: '/nowhere', ...options }));
  }
  const dataDir = await mkdtemp(join(tmpdir(), 'isopod-store-'));
  scope.defer(() => rm(dataDir, { recursive: true, force: true }));
  return scope.use(await Store.open({ url: undefined, dataDir, ...options }));
}

/** The code that a promise is refused with. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => assert.fail('it went well'),
    (one: unknown) => one,
  );
  assert(error instanceof Failure, String(error instanceof Error ? error.stack : error));
  return error.code;
}
