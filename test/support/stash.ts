/** What a client of Stash does, over a real socket. */
import { vi } from 'vitest';
import { WebSocket } from 'ws';
import type { Answer, TestService } from './client.ts';

export type Asked = {
  variables?: Record<string, unknown>;
  token?: string;
  tenant?: string;
  headers?: Record<string, string>;
};

/** POST to /graphql. */
export function graphql(service: TestService, query: string, asked: Asked = {}): Promise<Answer> {
  const { variables, token, tenant, headers = {} } = asked;
  return service.ask('POST', `${tenant === undefined ? '' : `/t/${tenant}`}/graphql`, {
    body: { query, variables },
    headers,
    ...(token === undefined ? {} : { token }),
  });
}

/** Its data; throws where there are errors. */
// biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came back
export async function dataOf(service: TestService, query: string, asked: Asked = {}): Promise<any> {
  const { status, body } = await graphql(service, query, asked);
  if (status !== 200 || body.errors !== undefined) throw new Error(`${status} ${JSON.stringify(body)}`);
  return body.data;
}

// biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came back
type Message = any;

export type SocketOptions = { protocol?: string | string[]; path?: string; headers?: Record<string, string> };

/** A WebSocket to /graphql, with what has come over it. */
export class StashSocket implements Disposable {
  readonly messages: Message[] = [];
  readonly socket: WebSocket;
  closed: { code: number; reason: string } | null = null;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (text) => this.messages.push(JSON.parse(String(text))));
    socket.on('close', (code, reason) => {
      this.closed = { code, reason: String(reason) };
    });
  }

  /** Resolves when it is open; rejects with the status that the service answered instead. */
  static async open(service: TestService, options: SocketOptions = {}): Promise<StashSocket> {
    const { protocol = 'graphql-transport-ws', path = '/graphql', headers = {} } = options;
    const socket = new WebSocket(service.url.replace('http', 'ws') + path, protocol, { headers });
    const opened = new StashSocket(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('open', () => resolve());
      socket.once('unexpected-response', (_request, response) => {
        reject(new Error(`status ${response.statusCode}`));
        response.resume();
        socket.terminate();
      });
      socket.on('error', reject);
    });
    return opened;
  }

  send(message: object | string): void {
    this.socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  }

  /** The first message that has come, or comes, and is like that. */
  async got(like: (message: Message) => boolean, timeout = 10_000): Promise<Message> {
    return await vi.waitFor(
      () => {
        const found = this.messages.find(like);
        if (found === undefined) throw new Error(`It has got only ${JSON.stringify(this.messages)}`);
        return found;
      },
      { timeout, interval: 10 },
    );
  }

  async ended(timeout = 10_000): Promise<{ code: number; reason: string }> {
    return await vi.waitFor(
      () => {
        if (this.closed === null) throw new Error('It is still open');
        return this.closed;
      },
      { timeout, interval: 10 },
    );
  }

  [Symbol.dispose](): void {
    this.socket.terminate();
  }
}
