/** A gateway without a service around it, and programs that only have a unix socket to it, as in a sandbox. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Application } from '../../src/core/application.ts';
import type { EgressDecision } from '../../src/core/grant.ts';
import type { Holder, Session } from '../../src/core/session.ts';
import type { EgressOptions } from '../../src/gateway/egress/egress.ts';
import { Gateway } from '../../src/gateway/gateway.ts';
import { noFields } from '../../src/gateway/no-fields.ts';
import { Seal } from '../../src/gateway/seal.ts';

export type TestGatewayOptions = { application: Application; egress?: Partial<EgressOptions>; headersMs?: number };

export class TestGateway implements AsyncDisposable {
  readonly gateway: Gateway;
  /** What is a bug of ours. */
  readonly bugs: unknown[];
  readonly #folder: string;
  readonly #scope = new AsyncDisposableStack();
  #programs = 0;

  private constructor(gateway: Gateway, bugs: unknown[], folder: string) {
    this.gateway = gateway;
    this.bugs = bugs;
    this.#folder = folder;
    this.#scope.defer(() => rm(folder, { recursive: true, force: true }));
    this.#scope.use(gateway);
  }

  static async open({ application, egress = {}, headersMs = 15_000 }: TestGatewayOptions): Promise<TestGateway> {
    const bugs: unknown[] = [];
    const gateway = await Gateway.open({
      seal: new Seal(Buffer.alloc(32, 1)),
      scopesOf: () => ['invoke'],
      applicationOf: () => application,
      own: () => noFields,
      onPresumed: () => {},
      limits: { port: 0, requestBytes: 1_000_000, depth: 40, fields: 5_000, headersMs },
      egress: {
        ranges: [],
        connections: 16,
        bytes: 100_000_000,
        connectMs: 5_000,
        idleMs: 5_000,
        ours: () => [],
        ...egress,
      },
      bug: (error) => bugs.push(error),
    });
    return new TestGateway(gateway, bugs, await mkdtemp(join(tmpdir(), 'isopod-egress-')));
  }

  get port(): number {
    return this.gateway.endpoint('/').port;
  }

  async program(network: readonly string[] = [], more: Partial<Holder> = {}): Promise<TestProgram> {
    this.#programs += 1;
    const program = new TestProgram(this.gateway, join(this.#folder, `${this.#programs}.sock`), network, more);
    await program.listening;
    return this.#scope.use(program);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#scope.disposeAsync();
  }
}

/** An answer as it came. */
export type Raw = { status: number; reason: string | undefined; head: string; body: string; text: string };

export class TestProgram implements AsyncDisposable {
  readonly session: Session;
  readonly decisions: EgressDecision[] = [];
  readonly listening: Promise<unknown>;
  readonly #path: string;
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((socket) => this.session.admit(socket));

  constructor(gateway: Gateway, path: string, network: readonly string[], more: Partial<Holder>) {
    this.#path = path;
    this.listening = once(this.#server.listen(path), 'listening');
    this.session = gateway.open({
      tenant: 'default',
      plugin: 'p',
      invocation: path,
      chain: { root: 'i', by: { plugin: 'p', invocation: 'i' }, links: [] },
      limits: { hostCalls: 1_000, hostCallsAtOnce: 8 },
      network,
      decided: (decision) => this.decisions.push(decision),
      stop: () => {},
      ...more,
    });
  }

  /** A connection as its relay makes one. */
  async dial(): Promise<Socket> {
    const socket = connect({ path: this.#path, allowHalfOpen: true });
    this.#sockets.add(socket);
    socket.on('error', () => {});
    await once(socket, 'connect');
    return socket;
  }

  /** Sends these bytes and reads until the other end has said all. */
  async say(text: string | Buffer): Promise<Raw> {
    const socket = await this.dial();
    socket.write(text);
    return rawOf(await all(socket));
  }

  /** A request line with the least that makes a request of it. */
  async ask(line: string, headers: readonly string[] = []): Promise<Raw> {
    return await this.say([`${line} HTTP/1.1`, ...headers, 'Connection: close', '', ''].join('\r\n'));
  }

  async connect(authority: string): Promise<Raw> {
    return await this.ask(`CONNECT ${authority}`, [`Host: ${authority}`]);
  }

  /** A tunnel that stands; throws the answer instead. */
  async tunnel(authority: string): Promise<Socket> {
    const socket = await this.dial();
    socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    let got = Buffer.alloc(0);
    let end = -1;
    while (end < 0) {
      const [chunk] = await once(socket, 'data');
      got = Buffer.concat([got, chunk]);
      end = got.indexOf('\r\n\r\n');
    }
    socket.pause();
    if (!got.toString().startsWith('HTTP/1.1 200 ')) throw new Error(got.toString());
    if (got.length > end + 4) socket.unshift(got.subarray(end + 4));
    return socket;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.session.end();
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** All that comes until it ends, however it ends. */
export async function all(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk)).resume();
  if (!socket.closed && !socket.readableEnded) {
    await new Promise<void>((resolve) => socket.once('end', resolve).once('close', () => resolve()));
  }
  socket.destroy();
  return Buffer.concat(chunks).toString();
}

export function rawOf(text: string): Raw {
  const [head = '', ...body] = text.split('\r\n\r\n');
  const reason = /^isopod-egress: (.*)$/im.exec(head)?.[1];
  return { status: Number(head.split(' ')[1]), reason, head, body: body.join('\r\n\r\n'), text };
}
