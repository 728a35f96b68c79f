import { randomBytes } from 'node:crypto';
import type { Db } from './database.ts';

/** The key of that name, which all nodes of the database have in common. Whoever asks first makes it. */
export async function keyOf(db: Db, name: string): Promise<Buffer> {
  await db
    .insertInto('keys')
    .values({ name, value: randomBytes(32) })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const { value } = await db.selectFrom('keys').select('value').where('name', '=', name).executeTakeFirstOrThrow();
  return value;
}
