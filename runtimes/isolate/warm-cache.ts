import { once } from 'node:events';
import { chmod, mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { executorCommand, executorEnvironment, GUEST } from './executor.ts';
import { NO_WALLS } from './walls.ts';

/**
 * Fills the cache of compiled code that executors start from, and cannot write to themselves. Our own code is started
 * once, as no plugin has been near it, and everybody may read what it leaves. Without a cache executors only start more
 * slowly: so this does not reject. Resolves with the folder; undefined where there is none.
 */
export async function warmCache(folder: string, nodePath: string): Promise<string | undefined> {
  try {
    await mkdir(folder, { recursive: true });
    const mark = join(folder, `warm-${process.version}-${await newest()}`);
    if ((await stat(mark).catch(() => null)) !== null) return folder;
    await startOnce(folder, nodePath);
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      await chmod(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o755 : 0o644);
    }
    await chmod(folder, 0o755);
    await writeFile(mark, '');
    return folder;
  } catch {
    return undefined;
  }
}

async function startOnce(folder: string, nodePath: string): Promise<void> {
  const command = executorCommand(nodePath, [GUEST], NO_WALLS);
  const child = NO_WALLS.spawn(command, ['ignore', 'ignore', 'ignore', 'pipe'], executorEnvironment(folder));
  const late = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  const gone = once(child, 'exit');
  const channel = child.stdio[3] as Duplex;
  channel.on('error', () => {});
  await Promise.race([once(channel, 'data'), gone]);
  // It writes when it has said that it is up, and looks at its channel after that.
  channel.destroy();
  await gone;
  clearTimeout(late);
}

/** When what executors are made of was changed last. */
async function newest(): Promise<number> {
  const folder = new URL('.', import.meta.url);
  const files = await readdir(folder, { recursive: true });
  const times = await Promise.all(files.map(async (file) => (await stat(new URL(file, folder))).mtimeMs));
  return Math.floor(Math.max(...times));
}

const PATIENCE_MS = 30_000;
