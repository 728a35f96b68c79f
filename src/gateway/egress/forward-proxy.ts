/**
 * The gateway as a proxy: what a program asks for with a whole URL or with CONNECT, over the connection that it would
 * also call its application over. Who asks is known by that connection; cookies and keys in there are another host's.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Caller } from '../callers.ts';
import type { Egress } from './egress.ts';
import { forward } from './forward.ts';
import { answer, answerRaw, STRANGER } from './refusal.ts';
import { targetOfUrl } from './target.ts';
import { tunnel } from './tunnel.ts';

export type ForwardProxyOptions = {
  egress: Egress;
  /** Whose process is at the other end. */
  whose(socket: Socket): Promise<Caller>;
  /** Told of what is a bug of ours. */
  bug(error: unknown): void;
};

/** The names under which programs know us. */
const OURS: ReadonlySet<string> = new Set(['127.0.0.1', 'localhost', '[::1]']);

export class ForwardProxy implements Disposable {
  readonly #options: ForwardProxyOptions;
  /** HTTP does not know of these any more. */
  readonly #tunnels = new Set<Socket>();

  constructor(options: ForwardProxyOptions) {
    this.#options = options;
  }

  /** Whether a request is for another host, and not for what listens at that port of ours. */
  isFor({ url = '' }: IncomingMessage, port: number): boolean {
    if (url.startsWith('/') || url === '*') return false;
    const target = targetOfUrl(url)?.target;
    return target === undefined || target.port !== port || !OURS.has(target.host);
  }

  forward(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    this.#known(socket, async (session) => {
      if (session === null) return answer(response, STRANGER);
      const end = () => socket.destroy();
      session.signal.addEventListener('abort', end, { once: true });
      response.once('close', () => session.signal.removeEventListener('abort', end));
      await forward(this.#options.egress, session, request, response);
    });
  }

  tunnel(request: IncomingMessage, socket: Socket, head: Buffer): void {
    socket.on('error', () => {});
    this.#tunnels.add(socket);
    socket.once('close', () => this.#tunnels.delete(socket));
    this.#known(socket, async (session) => {
      if (session === null) return answerRaw(socket, STRANGER);
      const end = () => socket.destroy();
      session.signal.addEventListener('abort', end, { once: true });
      socket.once('close', () => session.signal.removeEventListener('abort', end));
      await tunnel(this.#options.egress, session, request, socket, head);
    });
  }

  [Symbol.dispose](): void {
    for (const socket of this.#tunnels) socket.destroy();
  }

  #known(socket: Socket, serve: (session: Exclude<Caller, string | undefined> | null) => Promise<void>): void {
    const { whose, bug } = this.#options;
    whose(socket)
      .then((caller) => serve(typeof caller === 'object' && !caller.signal.aborted ? caller : null))
      .catch((error) => {
        socket.destroy();
        bug(error);
      });
  }
}
