/**
 * Whose process is at the other end of a connection.
 *
 * The kernel tells of each TCP socket its addresses and an inode, and of each process the inodes that it has open. So
 * whoever calls is looked for among the processes of the sessions that are open now, and of nobody else. A look takes
 * some ms however many are looked for, so those that come while one goes on share the next. It works on Linux, where
 * programs have no network namespace of their own; elsewhere everybody is nobody.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import type { Socket } from 'node:net';
import type { OpenSession } from './sessions.ts';

/** Processes of one session that are looked at, and files of one process. */
const PROCESSES_MOST = 200;
const FILES_MOST = 4_000;

type Wanted = { socket: Socket; resolve(session: OpenSession | undefined): void };

export class Callers {
  readonly #sessions: () => Iterable<OpenSession>;
  readonly #known = new WeakMap<Socket, Promise<OpenSession | undefined>>();
  #wanted: Wanted[] = [];
  #isLooking = false;

  constructor(sessions: () => Iterable<OpenSession>) {
    this.#sessions = sessions;
  }

  /** A connection is looked for once: it stays whose it is. */
  whose(socket: Socket): Promise<OpenSession | undefined> {
    const known = this.#known.get(socket) ?? this.#want(socket);
    this.#known.set(socket, known);
    return known;
  }

  #want(socket: Socket): Promise<OpenSession | undefined> {
    if (process.platform !== 'linux') return Promise.resolve(undefined);
    const { promise, resolve } = Promise.withResolvers<OpenSession | undefined>();
    this.#wanted.push({ socket, resolve });
    if (!this.#isLooking) void this.#look();
    return promise;
  }

  async #look(): Promise<void> {
    this.#isLooking = true;
    while (this.#wanted.length > 0) {
      const wanted = this.#wanted;
      this.#wanted = [];
      const inodes = await inodesByPorts();
      const left = new Map<string, Wanted>();
      for (const one of wanted) {
        const inode = inodes.get(portsOf(one.socket.remotePort ?? 0, one.socket.localPort ?? 0));
        if (inode === undefined) one.resolve(undefined);
        else left.set(`socket:[${inode}]`, one);
      }
      for (const session of this.#sessions()) {
        if (left.size === 0) break;
        if (session.pid === undefined) continue;
        for await (const file of openFiles(session.pid)) {
          left.get(file)?.resolve(session);
          left.delete(file);
        }
      }
      for (const one of left.values()) one.resolve(undefined);
    }
    this.#isLooking = false;
  }
}

/** The inode of each socket of TCP, by its own port and that of the other end. */
async function inodesByPorts(): Promise<Map<string, string>> {
  const inodes = new Map<string, string>();
  for (const table of ['tcp', 'tcp6']) {
    const text = await readFile(`/proc/net/${table}`, 'utf8').catch(() => '');
    for (const line of text.split('\n').slice(1)) {
      const [, local = '', remote = '', , , , , , , inode = '0'] = line.trim().split(/\s+/);
      const [own, other] = [local, remote].map((address) => Number.parseInt(address.slice(-4), 16));
      // One that nobody has open any more has none.
      if (own !== undefined && other !== undefined && inode !== '0') inodes.set(portsOf(own, other), inode);
    }
  }
  return inodes;
}

function portsOf(own: number, other: number): string {
  return `${own} ${other}`;
}

/** What a process, and those that it and they have started, have open. */
async function* openFiles(root: number): AsyncGenerator<string> {
  const next = [root];
  const seen = new Set<number>();
  for (let pid = next.pop(); pid !== undefined && seen.size < PROCESSES_MOST; pid = next.pop()) {
    if (seen.has(pid)) continue;
    seen.add(pid);
    const files = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const one of files.slice(0, FILES_MOST)) yield await readlink(`/proc/${pid}/fd/${one}`).catch(() => '');
    next.push(...(await childrenOf(pid)));
  }
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
