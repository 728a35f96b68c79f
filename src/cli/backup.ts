import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Config, ConfigError, loadConfig } from '../config.ts';
import { openStore } from '../main.ts';
import type { Store } from '../store/store.ts';
import { EXIT } from './exit.ts';

export type BackupOptions = { config?: string };

/** Writes all that is kept to a file. */
export async function backup(file: string, options: BackupOptions): Promise<number> {
  return await withStore('reads', options, async (store) => {
    say(`${await store.backup(file)} rows are in ${file}. Keep it safe: it holds settings, arguments and results`);
    say(
      'What lies in folders is not in it: plain plugin folders, and what plugins have written into copies of their own',
    );
  });
}

/** Nobody means to keep a copy of nothing: the folder is misspelt then. */
function refuseNothing({ databaseUrl, dataDir }: Config): void {
  if (databaseUrl !== undefined || existsSync(join(dataDir, 'postgres'))) return;
  throw new ConfigError([`There is no database in ${dataDir}: set ISOPOD_DATA_DIR, or DATABASE_URL`]);
}

/** Puts a file of `backup` into a database that holds nothing yet. */
export async function restore(file: string, options: BackupOptions): Promise<number> {
  if (!existsSync(file)) throw new ConfigError([`There is no file ${file}`]);
  return await withStore('writes', options, async (store) => {
    say(`${await store.restore(file, say)} rows of ${file} are in the database`);
  });
}

/** What goes wrong here is told in sentences, and leaves things as they were. */
async function withStore(
  does: 'reads' | 'writes',
  { config: file }: BackupOptions,
  work: (store: Store) => Promise<void>,
): Promise<number> {
  const config = loadConfig({ env: process.env, cwd: process.cwd(), file });
  if (does === 'reads') refuseNothing(config);
  try {
    await using store = await openStore(config, say);
    await work(store);
    return EXIT.ok;
  } catch (error) {
    process.stderr.write(`isopod: ${error instanceof Error ? error.message : error}\n`);
    return EXIT.host;
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
