/**
 * Whose process is at the other end of a connection, for programs that call without a cookie.
 *
 * The kernel tells of each TCP socket its addresses and an inode, and of each process the inodes that it has open. So
 * whoever calls is looked for among the processes of the sessions that are open now, and of nobody else. That works on
 * Linux, without a network namespace; elsewhere a program without a cookie is nobody.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import type { Socket } from 'node:net';
import type { OpenSession } from './sessions.ts';

/** Processes of one session that are looked at, and files of one process. */
const PROCESSES_MOST = 200;
const FILES_MOST = 1_000;
/** Look-ups at the same time; the next ones wait for their turn. */
const AT_ONCE = 2;

export class Callers {
  readonly #sessions: () => Iterable<OpenSession>;
  readonly #known = new WeakMap<Socket, Promise<OpenSession | undefined>>();
  readonly #waiting: (() => void)[] = [];
  #looking = 0;

  constructor(sessions: () => Iterable<OpenSession>) {
    this.#sessions = sessions;
  }

  /** A connection is looked up once: it stays whose it is. */
  async whose(socket: Socket): Promise<OpenSession | undefined> {
    const known = this.#known.get(socket) ?? this.#look(socket);
    this.#known.set(socket, known);
    const session = await known;
    return session?.signal.aborted === true ? undefined : session;
  }

  async #look(socket: Socket): Promise<OpenSession | undefined> {
    if (process.platform !== 'linux') return undefined;
    while (this.#looking >= AT_ONCE) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#looking += 1;
    try {
      const inode = await inodeOf(socket);
      if (inode === undefined) return undefined;
      for (const session of this.#sessions()) {
        if (session.pid !== undefined && (await hasOpen(session.pid, `socket:[${inode}]`))) return session;
      }
      return undefined;
    } finally {
      this.#looking -= 1;
      this.#waiting.shift()?.();
    }
  }
}

/** Of the other end: its own address is our peer's. */
async function inodeOf({ remotePort, localPort, remoteFamily }: Socket): Promise<string | undefined> {
  if (remotePort === undefined || localPort === undefined) return undefined;
  const [theirs, ours] = [remotePort, localPort].map((port) => `:${port.toString(16).toUpperCase().padStart(4, '0')}`);
  for (const table of remoteFamily === 'IPv6' ? ['tcp6'] : ['tcp', 'tcp6']) {
    const text = await readFile(`/proc/net/${table}`, 'utf8').catch(() => '');
    for (const line of text.split('\n')) {
      const [, local, remote, , , , , , , inode] = line.trim().split(/\s+/);
      if (local?.endsWith(theirs as string) && remote?.endsWith(ours as string) && inode !== '0') return inode;
    }
  }
  return undefined;
}

/** Whether a process, or one that it or those have started, has a file open. */
async function hasOpen(root: number, file: string): Promise<boolean> {
  const next = [root];
  const seen = new Set<number>();
  for (let pid = next.pop(); pid !== undefined && seen.size < PROCESSES_MOST; pid = next.pop()) {
    if (seen.has(pid)) continue;
    seen.add(pid);
    const files = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const one of files.slice(0, FILES_MOST)) {
      if ((await readlink(`/proc/${pid}/fd/${one}`).catch(() => '')) === file) return true;
    }
    next.push(...(await childrenOf(pid)));
  }
  return false;
}

async function childrenOf(pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const lists = await Promise.all(
    threads
      .slice(0, PROCESSES_MOST)
      .map((one) => readFile(`/proc/${pid}/task/${one}/children`, 'utf8').catch(() => '')),
  );
  return lists.flatMap((list) =>
    list
      .split(' ')
      .filter((one) => one !== '')
      .map(Number),
  );
}
