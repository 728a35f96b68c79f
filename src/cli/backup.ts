import { loadConfig } from '../config.ts';
import { openStore } from '../main.ts';
import type { Store } from '../store/store.ts';
import { EXIT } from './exit.ts';

export type BackupOptions = { config?: string };

/** Writes all that is kept to a file. */
export async function backup(file: string, options: BackupOptions): Promise<number> {
  return await withStore(options, async (store) => {
    say(`${await store.backup(file)} rows are in ${file}; it opens nothing by itself, and still is not for everybody`);
  });
}

/** Puts a file of `backup` into a database that holds nothing yet. */
export async function restore(file: string, options: BackupOptions): Promise<number> {
  return await withStore(options, async (store) => {
    say(`${await store.restore(file, say)} rows of ${file} are in the database`);
  });
}

/** What goes wrong here is told in sentences, and leaves things as they were. */
async function withStore({ config: file }: BackupOptions, work: (store: Store) => Promise<void>): Promise<number> {
  const config = loadConfig({ env: process.env, cwd: process.cwd(), file });
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
