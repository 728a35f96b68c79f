import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Whoever sends more ahead than that, on one connection, is nobody's client. */
const WAITING_MOST = 8;

/**
 * Requests that come while an earlier one of their connection is not answered. Their answers would have to wait for its
 * answer anyway, and so they wait for their turn themselves: until then they take no place from anybody.
 */
export class Turns {
  readonly #waiting = new WeakMap<Socket, number>();

  /** False where the connection has ended first, or is ended as it brings too many. */
  async wait(connection: Socket, response: ServerResponse): Promise<boolean> {
    const waiting = this.#waiting.get(connection) ?? 0;
    if (waiting >= WAITING_MOST) {
      connection.destroy();
      return false;
    }
    this.#waiting.set(connection, waiting + 1);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    // An answer gets its connection when it is the first that is to be sent.
    response.once('socket', () => resolve(true)).once('close', () => resolve(false));
    const mayGoOn = await promise;
    this.#waiting.set(connection, (this.#waiting.get(connection) ?? 1) - 1);
    return mayGoOn && !connection.destroyed;
  }
}
