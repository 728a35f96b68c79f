import { randomBytes } from 'node:crypto';
import { chmod, chown, unlink } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { Failure } from '../../src/core/failure.ts';
import { Minute } from '../../src/programs/minute.ts';
import { within } from '../../src/programs/settling.ts';

/**
 * The unix socket of one resident, on which we listen and it connects. Its first connection is for frames; each further
 * one is for requests, and was asked for: whoever comes unasked is sent away.
 */
export class Wire implements AsyncDisposable {
  readonly path: string;
  /** Who may connect; null is us. */
  readonly identity: number | null;
  /** The first connection. */
  readonly frames: Promise<Socket>;
  /** Resolves when it has come unasked too often. */
  readonly crowded: Promise<number>;
  readonly #server: Server;
  readonly #open = new Set<Socket>();
  /** Those who have asked for a connection, the first of them first. */
  readonly #dialling: ((socket: Socket) => void)[] = [];
  readonly #first: (socket: Socket) => void;
  readonly #unasked = new Minute();
  readonly #crowd: (times: number) => void;
  #state: 'expecting' | 'connected' | 'closed' = 'expecting';

  private constructor(path: string, identity: number | null, server: Server) {
    this.path = path;
    this.identity = identity;
    this.#server = server;
    const { promise, resolve } = Promise.withResolvers<Socket>();
    this.frames = promise;
    this.#first = resolve;
    const crowd = Promise.withResolvers<number>();
    this.crowded = crowd.promise;
    this.#crowd = crowd.resolve;
    server.maxConnections = CONNECTIONS_MOST;
    server.on('connection', (socket) => this.#enter(socket)).on('error', () => {});
  }

  /**
   * In a folder that is ours alone. It is open to nobody but whom the program runs as, `identity`; null is us. Its path
   * has to be short: the system's limit is 107.
   */
  static async open(folder: string, identity: number | null): Promise<Wire> {
    // In weaker rooms others get to the folder, and could see what is in use; but not what it is going to be called.
    const path = join(folder, `wire-${randomBytes(9).toString('hex')}`);
    const server = createServer({ allowHalfOpen: false });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(path, () => resolve(server.off('error', reject) && undefined));
    });
    if (identity !== null) await chown(path, identity, identity);
    await chmod(path, 0o600);
    return new Wire(path, identity, server);
  }

  /** The next connection, for which `ask` asks the program. Rejects with a Failure where it does not come in time. */
  async dial(ask: () => void, ms: number): Promise<Socket> {
    if (this.#state !== 'connected') throw new Failure('executor_lost', 'Its process is gone', { retryable: true });
    const { promise, resolve } = Promise.withResolvers<Socket>();
    this.#dialling.push(resolve);
    ask();
    const socket = await within(ms, promise);
    if (socket !== null) return socket;
    const at = this.#dialling.indexOf(resolve);
    // It came at the last moment.
    if (at < 0) return await promise;
    this.#dialling.splice(at, 1);
    const limit = { name: 'sillytavern.blockedMs', allowed: ms, observed: ms, unit: 'ms' } as const;
    throw new Failure('plugin_timeout', 'The plugin takes no request', { limit });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#state = 'closed';
    for (const socket of this.#open) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await unlink(this.path).catch(() => {});
  }

  #enter(socket: Socket): void {
    socket.on('error', () => {});
    const isFirst = this.#state === 'expecting';
    const taken = isFirst ? this.#first : this.#dialling.shift();
    if (this.#state === 'closed' || taken === undefined) {
      socket.destroy();
      const times = this.#unasked.add(1);
      if (times > UNASKED_MOST) this.#crowd(times);
      return;
    }
    this.#state = 'connected';
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    taken(socket);
  }
}

/** Of a minute: each costs us some time. */
export const UNASKED_MOST = 200;
/** As many as there may be requests in one plugin, and some for those that it makes unasked, which are sent away. */
const CONNECTIONS_MOST = 10_100;
