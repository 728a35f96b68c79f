import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import type { Db, Tx } from './database.ts';
import { isCollision } from './unreachable.ts';

const TRIES = 3;
/** The other one shall get past meanwhile, and the two not meet again. */
const PAUSE_MS = 30;

/**
 * All of `work` or nothing of it. Where others were at the same rows at the same time it is done again, so it must do
 * nothing but speak to the database.
 */
export async function inTransaction<R>(db: Db, work: (tx: Tx) => Promise<R>): Promise<R> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await db.transaction().execute(work);
    } catch (error) {
      if (attempt === TRIES || !isCollision(error)) throw error;
      await sleep(attempt * PAUSE_MS * (0.5 + Math.random()));
    }
  }
}

/** Held until the transaction ends. Always in the same order, so that nobody waits in a circle. */
export async function lock(tx: Tx, ...names: string[]): Promise<void> {
  for (const name of names) await sql`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`.execute(tx);
}

/** One node after the other, for what is no transaction: `work` speaks to the database on connections of its own. */
export async function inTurn<R>(db: Db, name: string, work: () => Promise<R>): Promise<R> {
  return await db.transaction().execute(async (tx) => {
    await lock(tx, name);
    return await work();
  });
}
