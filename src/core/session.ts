import type { Chain } from './chain.ts';
import type { Failure } from './failure.ts';
import type { EgressDecision } from './grant.ts';
import type { Limits } from './limits.ts';

/** The invocation that calls its application back. */
export type Holder = {
  tenant: string;
  plugin: string;
  invocation: string;
  /** What led to it, itself included. */
  chain: Chain;
  limits: Pick<Limits, 'hostCalls' | 'hostCallsAtOnce'>;
  /** Hosts that it may reach beside its application; see grant.ts. */
  network: readonly string[];
  /** Told of each attempt to reach one. */
  decided(decision: EgressDecision): void;
  /** Ends the invocation, for what it asked. */
  stop(failure: Failure): void;
};

/** The way of one invocation to its application. It ends with the invocation. */
export interface Session {
  /** What a program shows as its cookie, or as its API key. It opens the gateway, for this invocation alone. */
  readonly cookie: string;
  /** Calls so far, and how long at least one was under way, in ms. */
  readonly calls: number;
  readonly waitedMs: number;
  /**
   * One GraphQL request: `body` is the JSON text to POST. Resolves with a status and a body as the application, or we in
   * its place, have answered; rejects with `signal.reason` when the signal aborts, and with a Failure where there is no
   * answer.
   */
  graphql(body: string, signal: AbortSignal): Promise<{ status: number; body: string }>;
  /** Tells the process that its program began as: whoever of its children calls without a cookie is known by it. */
  runsAs(pid: number): void;
  /**
   * Takes a connection that can be nobody's but the invocation's own program, which has a network of its own. What comes
   * over it is served like any call: its application by path, and other hosts, as by a proxy, where that was granted.
   */
  admit(connection: NodeJS.ReadWriteStream): void;
  /**
   * What comes over its connections from now on is `next`'s. What is under way, a tunnel too, stays its own until that has
   * ended or it is ended itself.
   */
  handOver(next: Session): void;
  /** Nothing is opened by it any more, after a moment for what is under way. */
  end(): void;
}

/** Opens sessions. */
export interface Sessions {
  open(holder: Holder): Session;
}
