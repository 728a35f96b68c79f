/**
 * The sessions of the invocations that run here. A session is opened for one invocation, and what it opens is bound to
 * that: its tenant, its plugin, its chain, its limits, its deadline. What a program shows (`cookie`) is a random name,
 * signed; what it stands for is known to this node alone, and is forgotten a moment after the invocation.
 */
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { Failure } from '../core/failure.ts';
import type { GraphqlCaller, GraphqlDesk, GraphqlReply } from '../core/graphql.ts';
import type { Holder, Session } from '../core/session.ts';
import type { Scope } from '../core/tenant.ts';
import { askOf } from './ask.ts';
import { replyTo } from './reply.ts';
import type { Seal } from './seal.ts';

/** What is under way when the invocation ends may still be answered for so long. */
const GRACE_MS = 500;

export type OpenSessionsOptions = {
  seal: Seal;
  desk: GraphqlDesk;
  /** What a plugin may do with what is ours. */
  scopesOf(tenant: string, plugin: string): readonly Scope[];
  /** The body of a request. */
  requestBytes: number;
  /** Serves a connection that is this session's, whatever comes over it. */
  serve(connection: Socket, session: OpenSession): void;
  graceMs?: number;
};

export class OpenSessions {
  readonly #options: OpenSessionsOptions;
  readonly #byName = new Map<string, OpenSession>();

  constructor(options: OpenSessionsOptions) {
    this.#options = options;
  }

  open(holder: Holder): OpenSession {
    return new OpenSession(holder, this.#options, this.#byName);
  }

  /** Whose cookie this is, as long as its invocation runs. */
  find(cookie: string): OpenSession | undefined {
    const name = this.#options.seal.unsign('session', cookie);
    return name === null ? undefined : this.#byName.get(name)?.latest;
  }

  /** Those whose programs are processes of this machine. */
  *withProcess(): Generator<OpenSession> {
    for (const session of this.#byName.values()) if (session.pid !== undefined) yield session;
  }
}

export class OpenSession implements Session {
  readonly holder: Holder;
  readonly #options: OpenSessionsOptions;
  readonly #byName: Map<string, OpenSession>;
  readonly #ended = new AbortController();
  readonly #waiting: (() => void)[] = [];
  /** Each with what is to be done when it is closed. */
  readonly #connections = new Map<Socket, () => void>();
  #isOver = false;
  #next: OpenSession | null = null;
  #cookie: { name: string; value: string } | undefined;
  #pid: number | undefined;
  #calls = 0;
  #underWay = 0;
  #waitedMs = 0;
  #since = 0;

  constructor(holder: Holder, options: OpenSessionsOptions, byName: Map<string, OpenSession>) {
    this.holder = holder;
    this.#options = options;
    this.#byName = byName;
  }

  /** Made, and good for anything, from the first time that somebody wants to show it. */
  get cookie(): string {
    if (this.#cookie === undefined) {
      const name = randomBytes(18).toString('base64url');
      this.#cookie = { name, value: this.#options.seal.sign('session', name) };
      this.#byName.set(name, this);
    }
    return this.#cookie.value;
  }

  get calls(): number {
    return this.#calls;
  }

  get waitedMs(): number {
    return this.#waitedMs + (this.#underWay > 0 ? performance.now() - this.#since : 0);
  }

  get pid(): number | undefined {
    return this.#pid;
  }

  runsAs(pid: number): void {
    this.#pid = pid;
  }

  admit(connection: NodeJS.ReadWriteStream): void {
    const socket = connection as Socket;
    // Whatever becomes of it, it is nobody's bug.
    socket.on('error', () => {});
    if (this.#isOver || socket.destroyed) {
      socket.destroy();
      return;
    }
    this.#keep(socket);
    this.#options.serve(socket, this);
  }

  /** Whose it is what comes over its connections now. */
  get latest(): OpenSession {
    let latest: OpenSession = this;
    while (latest.#next !== null) latest = latest.#next;
    return latest;
  }

  handOver(next: OpenSession): void {
    this.#next = next;
    // Whichever of them is a tunnel ends by the signal.
    for (const [one, left] of this.#connections) {
      one.off('close', left);
      next.#keep(one);
    }
    this.#connections.clear();
  }

  /** Aborts when nothing is answered any more. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  get caller(): GraphqlCaller {
    const { tenant, plugin, invocation } = this.holder;
    // Who has shown no cookie has no use for a key either.
    const apiKey = this.#cookie?.value ?? invocation;
    return { tenant, scopes: this.#options.scopesOf(tenant, plugin), holder: this.holder, apiKey };
  }

  async graphql(body: string, signal: AbortSignal): Promise<GraphqlReply> {
    const { desk, requestBytes } = this.#options;
    const ask = async () => {
      if (Buffer.byteLength(body) > requestBytes) throw tooLarge(requestBytes, Buffer.byteLength(body));
      return await desk.ask(askOf(body), this.caller, signal);
    };
    return await this.#timed(() => replyTo(ask, signal));
  }

  /**
   * A call of a program: counted, and one of those at once. Throws `plugin_resource_exceeded`, which ends the
   * invocation, beyond the limit of all calls; waits where too many are under way. Leave with what it gives.
   */
  async enter(): Promise<() => void> {
    const { limits, stop } = this.holder;
    if (this.#calls >= limits.hostCalls) {
      const failure = tooManyCalls(limits.hostCalls, this.#calls + 1);
      stop(failure);
      throw failure;
    }
    this.#calls += 1;
    // Nothing may come between seeing that there is room and taking it.
    while (this.#underWay >= limits.hostCallsAtOnce) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
      this.#ended.signal.throwIfAborted();
    }
    const leave = this.#begin();
    return () => {
      leave();
      this.#waiting.shift()?.();
    };
  }

  end(): void {
    this.#isOver = true;
    if (this.#cookie === undefined && this.#connections.size === 0 && this.#next === null) return;
    setTimeout(() => {
      if (this.#cookie !== undefined) this.#byName.delete(this.#cookie.name);
      for (const one of this.#connections.keys()) one.destroy();
      this.#ended.abort(new Failure('unauthenticated', 'The invocation of this session has ended'));
      for (const proceed of this.#waiting.splice(0)) proceed();
    }, this.#options.graceMs ?? GRACE_MS).unref();
  }

  #keep(socket: Socket): void {
    const left = () => void this.#connections.delete(socket);
    this.#connections.set(socket, left);
    socket.once('close', left);
  }

  async #timed<T>(work: () => Promise<T>): Promise<T> {
    const leave = this.#begin();
    try {
      return await work();
    } finally {
      leave();
    }
  }

  #begin(): () => void {
    if (this.#underWay === 0) this.#since = performance.now();
    this.#underWay += 1;
    return () => {
      this.#underWay -= 1;
      if (this.#underWay === 0) this.#waitedMs += performance.now() - this.#since;
    };
  }
}

function tooManyCalls(allowed: number, observed: number): Failure {
  const limit = { name: 'hostCalls', allowed, observed, unit: 'count' } as const;
  return new Failure('plugin_resource_exceeded', `The plugin called its application more than ${allowed} times`, {
    limit,
  });
}

export function tooLarge(allowed: number, observed: number): Failure {
  const limit = { name: 'gateway.requestBytes', allowed, observed, unit: 'bytes' } as const;
  return new Failure('payload_too_large', `A call may have ${allowed} bytes`, { limit });
}
