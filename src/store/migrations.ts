import type { Kysely } from 'kysely';
import { type Migration, Migrator } from 'kysely/migration';
import * as tenants from './migrations/0001-tenants.ts';
import * as packages from './migrations/0002-packages.ts';
import * as trees from './migrations/0003-trees.ts';
import * as jobs from './migrations/0004-jobs.ts';
import * as unpacked from './migrations/0005-unpacked.ts';
import * as events from './migrations/0006-events.ts';
import * as applications from './migrations/0007-applications.ts';
import * as keys from './migrations/0008-keys.ts';
import * as grants from './migrations/0009-grants.ts';
import * as leastGrades from './migrations/0010-least-grades.ts';
import * as residents from './migrations/0011-residents.ts';
import * as pluginRepos from './migrations/0012-plugin-repos.ts';
import * as serverPlugins from './migrations/0013-server-plugins.ts';

/** In order of their names. One that has been released is never changed: what it made is changed by the next. */
const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '0001-tenants': tenants,
  '0002-packages': packages,
  '0003-trees': trees,
  '0004-jobs': jobs,
  '0005-unpacked': unpacked,
  '0006-events': events,
  '0007-applications': applications,
  '0008-keys': keys,
  '0009-grants': grants,
  '0010-least-grades': leastGrades,
  '0011-residents': residents,
  '0012-plugin-repos': pluginRepos,
  '0013-server-plugins': serverPlugins,
};

export const SCHEMA = 'isopod';

/** Throws an Error for the operator. */
export function assertKnown(migration: string): void {
  if (Object.hasOwn(MIGRATIONS, migration)) return;
  throw new Error(
    `This isopod does not know the database schema "${migration}": use the version that it is from, or a newer one`,
  );
}

export function latestMigration(): string {
  return Object.keys(MIGRATIONS).sort().at(-1) ?? '';
}

/**
 * Brings the schema up to what this version needs. Several nodes may do so at once: they take turns. Throws an Error
 * for the operator when the database is of a newer version than this program. `upTo`: only as far as that one.
 */
export async function migrate<T>(db: Kysely<T>, say: (what: string) => void, upTo?: string): Promise<void> {
  const migrator = new Migrator({
    db,
    provider: { getMigrations: async () => ({ ...MIGRATIONS }) },
    migrationTableSchema: SCHEMA,
  });
  const done = await migrator.getMigrations().catch(() => []);
  const missing = done.filter(({ executedAt }) => executedAt === undefined).length;
  if (missing > 0) say(`bringing the database up to date (${missing} step${missing === 1 ? '' : 's'})`);
  const { error, results } = await (upTo === undefined ? migrator.migrateToLatest() : migrator.migrateTo(upTo));
  if (error === undefined) return;
  const failed = results?.find(({ status }) => status === 'Error');
  const words = error instanceof Error ? error.message : String(error);
  throw new Error(
    failed === undefined
      ? `The database was made by another version of isopod, which this one does not know: ${words}`
      : `The database could not be brought up to date (${failed.migrationName}): ${words}`,
    { cause: error },
  );
}
