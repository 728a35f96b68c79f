import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isOrphan, ownName } from './owner.ts';
import { removed } from './scratch.ts';

/** A folder for what is there as long as we are; those of services that were killed are cleared away. */
export async function openGround(what: 'process' | 'cells'): Promise<string> {
  const prefix = `isopod-${what}-`;
  await sweep(prefix);
  return await mkdtemp(join(tmpdir(), ownName(prefix)));
}

async function sweep(prefix: string): Promise<void> {
  for (const name of await readdir(tmpdir()).catch(() => [])) {
    if (isOrphan(name, prefix)) await removed(join(tmpdir(), name)).catch(() => {});
  }
}
