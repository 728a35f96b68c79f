/** What plugins reach of the world: their application, through a session that lives as long as their invocation. */
import type { Socket } from 'node:net';
import type { Application } from '../core/application.ts';
import type { Chains } from '../core/chain.ts';
import type { GraphqlDesk, OwnFields } from '../core/graphql.ts';
import type { Endpoint } from '../core/invocation.ts';
import type { Holder, Session, Sessions } from '../core/session.ts';
import { Callers } from './callers.ts';
import { SealedChains } from './chains.ts';
import { Desk } from './desk.ts';
import { type DocumentLimits, Documents } from './documents.ts';
import { Egress, type EgressOptions } from './egress/egress.ts';
import { ForwardProxy } from './egress/forward-proxy.ts';
import { Introspection } from './introspection.ts';
import { Listener } from './listener.ts';
import { type OpenSession, OpenSessions, type OpenSessionsOptions } from './sessions.ts';

export type GatewayOptions = Pick<OpenSessionsOptions, 'scopesOf' | 'seal'> & {
  /** Told once of each application that does not pass on the chains that it is told. */
  onPresumed(tenant: string): void;
  applicationOf(tenant: string): Application;
  /** What is answered here in the application's place, as it is when somebody asks. */
  own(): OwnFields;
  limits: DocumentLimits & { port: number; requestBytes: number; headersMs?: number };
  /** The way to other hosts. What this gateway listens at is never on it. */
  egress: EgressOptions;
  bug(error: unknown): void;
};

export class Gateway implements Sessions, AsyncDisposable {
  readonly desk: GraphqlDesk;
  readonly chains: Chains;
  readonly #sessions: OpenSessions;
  readonly #listener: Listener;

  private constructor(desk: GraphqlDesk, chains: Chains, sessions: OpenSessions, listener: Listener) {
    this.desk = desk;
    this.chains = chains;
    this.#sessions = sessions;
    this.#listener = listener;
  }

  /** Resolves when it listens. */
  static async open({
    seal,
    scopesOf,
    applicationOf,
    own,
    limits,
    egress,
    bug,
    onPresumed,
  }: GatewayOptions): Promise<Gateway> {
    const chains = new SealedChains({ seal, applicationOf, onPresumed });
    const desk = new Desk({
      documents: new Documents(limits),
      introspection: new Introspection(() => own().schema),
      own,
      chains,
      applicationOf,
    });
    const serve = (connection: Socket, session: OpenSession) => {
      callers.know(connection, session);
      listener.take(connection);
    };
    const sessions = new OpenSessions({ seal, desk, scopesOf, requestBytes: limits.requestBytes, serve });
    const callers = new Callers(() => sessions.withProcess());
    const whose = (socket: Socket) => callers.whose(socket);
    const ours = () => [listener.port, ...egress.ours()];
    const proxy = new ForwardProxy({ egress: new Egress({ ...egress, ours }), whose, bug });
    const find = (shown: string) => sessions.find(shown);
    const listener: Listener = await Listener.open({ ...limits, desk, find, whose, proxy, bug });
    return new Gateway(desk, chains, sessions, listener);
  }

  /** Where programs are told to find it. `dir` stands for the folder that is the host's own. */
  endpoint(dir: string): Endpoint {
    return { scheme: 'http', host: '127.0.0.1', port: this.#listener.port, dir };
  }

  open(holder: Holder): Session {
    return this.#sessions.open(holder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listener[Symbol.asyncDispose]();
  }
}
