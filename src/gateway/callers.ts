/**
 * Whose process is at the other end of a connection.
 *
 * The kernel tells of each TCP socket its two addresses and an inode, and of each process the inodes that it has open. So
 * whoever calls is looked for among the processes of the sessions that are open now, and of nobody else. Both ends have to
 * be those of this connection: the port alone may be that of another one, from another of this machine's addresses. A look
 * takes some ms however many are looked for, so those that come while one goes on share the next. It works on Linux, where
 * programs have no network namespace of their own; elsewhere everybody is nobody.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { isIPv4, type Socket } from 'node:net';
import type { OpenSession } from './sessions.ts';

/** Processes of one session that are looked at, and files of all of them together. */
const PROCESSES_MOST = 200;
const FILES_MOST = 3_000;

/** Whose it is; undefined for nobody's, and `unclear` where not everything could be looked at. */
export type Caller = OpenSession | 'unclear' | undefined;

type Wanted = { socket: Socket; resolve(caller: Caller): void };

export class Callers {
  readonly #sessions: () => Iterable<OpenSession>;
  readonly #known = new WeakMap<Socket, Promise<Caller>>();
  #wanted: Wanted[] = [];
  #isLooking = false;

  constructor(sessions: () => Iterable<OpenSession>) {
    this.#sessions = sessions;
  }

  /** A connection is looked for once: it stays whose it is, or is that of whom they have handed it over to. */
  async whose(socket: Socket): Promise<Caller> {
    const known = this.#known.get(socket) ?? this.#want(socket);
    this.#known.set(socket, known);
    const caller = await known;
    return typeof caller === 'object' ? caller.latest : caller;
  }

  /** Says whose it is, where that is certain without a look. */
  know(socket: Socket, session: OpenSession): void {
    this.#known.set(socket, Promise.resolve(session));
  }

  #want(socket: Socket): Promise<Caller> {
    if (process.platform !== 'linux') return Promise.resolve(undefined);
    const { promise, resolve } = Promise.withResolvers<Caller>();
    this.#wanted.push({ socket, resolve });
    if (!this.#isLooking) void this.#look();
    return promise;
  }

  async #look(): Promise<void> {
    this.#isLooking = true;
    while (this.#wanted.length > 0) {
      const wanted = this.#wanted;
      this.#wanted = [];
      const isWhole = await this.#find(wanted).catch(() => false);
      for (const one of wanted) one.resolve(isWhole ? undefined : 'unclear');
    }
    this.#isLooking = false;
  }

  /** Whether everything was looked at that might be whose it is. */
  async #find(wanted: readonly Wanted[]): Promise<boolean> {
    const left = await byFile(wanted);
    const reach = { isWhole: true };
    // Side by side: one with very many files keeps nobody waiting but itself.
    const looks = Array.from(this.#sessions(), async (session) => {
      if (left.size === 0 || session.pid === undefined) return;
      for await (const file of openFiles(session.pid, reach)) {
        left.get(file)?.resolve(session);
        left.delete(file);
        if (left.size === 0) return;
      }
    });
    await Promise.all(looks);
    return left.size === 0 || reach.isWhole;
  }
}

/** Those who call, by what their sockets are called among the files of a process. */
async function byFile(wanted: readonly Wanted[]): Promise<Map<string, Wanted>> {
  const [tcp, tcp6] = await Promise.all(
    ['tcp', 'tcp6'].map((table) => readFile(`/proc/net/${table}`, 'utf8').catch(() => '')),
  );
  const left = new Map<string, Wanted>();
  for (const one of wanted) {
    const inode = inodeOf(one.socket, tcp ?? '', tcp6 ?? '');
    if (inode !== undefined) left.set(`socket:[${inode}]`, one);
  }
  return left;
}

/** Of the other end of a connection, which has it the other way round. The tables may be long: lines are searched for. */
function inodeOf(socket: Socket, tcp: string, tcp6: string): string | undefined {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  if (remoteAddress === undefined || remotePort === undefined) return undefined;
  if (localAddress === undefined || localPort === undefined) return undefined;
  for (const [table, isWide] of [
    [tcp, false],
    [tcp6, true],
  ] as const) {
    const [own, other] = [
      [remoteAddress, remotePort],
      [localAddress, localPort],
    ].map(([address, port]) => written(String(address), Number(port), isWide));
    if (own === null || other === null) continue;
    const at = table.indexOf(`: ${own} ${other} ${ESTABLISHED} `);
    if (at < 0) continue;
    const [inode = '0'] = table.slice(at, table.indexOf('\n', at)).trim().split(/\s+/).slice(9, 10);
    // One that nobody has open any more has none.
    return inode === '0' ? undefined : inode;
  }
  return undefined;
}

const ESTABLISHED = '01';

/** An address as the tables have it: words of four bytes, each as this machine has them in memory. */
function written(address: string, port: number, isWide: boolean): string | null {
  const bytes = bytesOf(address, isWide);
  if (bytes === null) return null;
  const words = [];
  for (let at = 0; at < bytes.length; at += 4) words.push(bytes.readUInt32LE(at).toString(16).padStart(8, '0'));
  return `${words.join('')}:${port.toString(16).padStart(4, '0')}`.toUpperCase();
}

/** Only loopback is listened on, so there are few forms. In the table of IPv6, an address of IPv4 is a mapped one. */
function bytesOf(address: string, isWide: boolean): Buffer | null {
  const narrow = address.startsWith(MAPPED) ? address.slice(MAPPED.length) : address;
  if (isIPv4(narrow)) {
    const four = Buffer.from(narrow.split('.').map(Number));
    return isWide ? Buffer.concat([Buffer.from('00000000000000000000ffff', 'hex'), four]) : four;
  }
  if (!isWide || address !== '::1') return null;
  return Buffer.from('00000000000000000000000000000001', 'hex');
}

const MAPPED = '::ffff:';

/** What a process, and those that it and they have started, have open. */
async function* openFiles(root: number, reach: { isWhole: boolean }): AsyncGenerator<string> {
  const next = [root];
  const seen = new Set<number>();
  let left = FILES_MOST;
  for (let pid = next.pop(); pid !== undefined; pid = next.pop()) {
    if (seen.has(pid)) continue;
    seen.add(pid);
    reach.isWhole &&= seen.size <= PROCESSES_MOST;
    if (seen.size > PROCESSES_MOST) return;
    for (const one of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      left -= 1;
      reach.isWhole &&= left >= 0;
      if (left < 0) return;
      yield await readlink(`/proc/${pid}/fd/${one}`).catch(() => '');
    }
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
