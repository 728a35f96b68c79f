import { readdir, readFile, readlink, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const LEAVE_MS = 10_000;
const LOOK_MS = 20;
/** The processes of a server that was killed notice within this time, but for those that are busy. */
const NOTICE_MS = 200;

/**
 * Ends what a server that is gone has left behind in its folder, which is ours: a whole server that lost its owner a
 * moment ago, or single processes of one that was killed, which hold its memory so that no other can start. Where the
 * system does not tell what runs in a folder, PostgreSQL finds out for itself, and refuses to start until they are gone.
 */
export async function endOrphans(data: string, socketDir: string): Promise<void> {
  const locks = [join(data, 'postmaster.pid'), join(socketDir, '.s.PGSQL.5432.lock')];
  // It removes this one when it ends as it should.
  const head = await readHead(locks[0] as string);
  if (head === undefined) return;
  const since = performance.now();
  for (;;) {
    const orphans = await processesIn(data);
    if (orphans.length === 0) break;
    const waited = performance.now() - since;
    if (waited > LEAVE_MS) throw new Error(`PostgreSQL (process ${orphans.join(', ')}) in ${data} does not end`);
    if (orphans.includes(head)) signal(head, 'SIGINT');
    // Their server is gone, and the next one repairs whatever they were at.
    else if (waited > NOTICE_MS) for (const pid of orphans) signal(pid, 'SIGKILL');
    await sleep(LOOK_MS);
  }
  for (const lock of locks) await removeIfStale(lock);
}

async function processesIn(data: string): Promise<number[]> {
  const names = await readdir('/proc').catch(() => []);
  const found = await Promise.all(names.filter((name) => /^\d+$/.test(name)).map((name) => runsIn(name, data)));
  return found.filter((pid) => pid !== undefined);
}

/** Somebody's shell may stand in the folder, too. */
async function runsIn(pid: string, data: string): Promise<number | undefined> {
  if ((await readlink(`/proc/${pid}/cwd`).catch(() => '')) !== data) return undefined;
  const program = basename(await readlink(`/proc/${pid}/exe`).catch(() => ''));
  return program.startsWith('postgres') ? Number(pid) : undefined;
}

/** Its number belongs to something else by now, which PostgreSQL would take for the server that wrote it. */
async function removeIfStale(lock: string): Promise<void> {
  const pid = await readHead(lock);
  if (pid !== undefined && isThere(pid) && process.platform === 'linux') await rm(lock, { force: true });
}

async function readHead(lock: string): Promise<number | undefined> {
  const pid = Math.abs(Number((await readFile(lock, 'utf8').catch(() => '')).split('\n')[0]));
  return pid > 1 ? pid : undefined;
}

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has just ended.
  }
}
