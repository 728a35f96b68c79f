import { chmod, unlink } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Session } from '../core/session.ts';

/**
 * The unix socket of one room. Whoever connects can be nobody but the program in there, so it needs no other proof of
 * who it is. Before it is told whose it is there is nobody to talk to, and it hangs up.
 */
export class Door implements AsyncDisposable {
  readonly socket: string;
  readonly #server: Server;
  readonly #open = new Set<Socket>();
  #session: Pick<Session, 'admit'> | null = null;
  #knocks = 0;

  private constructor(socket: string, server: Server) {
    this.socket = socket;
    this.#server = server;
    server.maxConnections = MOST;
    server.on('connection', (connection) => this.#enter(connection));
    // Without a socket to listen on there is nothing that could go wrong later but for single connections.
    server.on('error', () => {});
  }

  /** `name` is a file name for it in a folder that is ours alone. Its path has to be short: the system's limit is 107. */
  static async open(folder: string, name: string): Promise<Door> {
    const socket = join(folder, name);
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(socket, () => resolve(server.off('error', reject) && undefined));
    });
    // For whoever the program runs as; nobody else gets to see it.
    await chmod(socket, 0o666);
    return new Door(socket, server);
  }

  /** How often somebody has come so far. */
  get knocks(): number {
    return this.#knocks;
  }

  lead(session: Pick<Session, 'admit'>): void {
    this.#session = session;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#open) connection.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await unlink(this.socket).catch(() => {});
  }

  #enter(connection: Socket): void {
    this.#knocks += 1;
    if (this.#session === null) {
      connection.destroy();
      return;
    }
    this.#open.add(connection);
    connection.once('close', () => this.#open.delete(connection)).on('error', () => {});
    this.#session.admit(connection);
  }
}

/** More than a program may have under way at a time; what waits is the kernel's. */
const MOST = 128;
