import { connect, type Socket } from 'node:net';
import type { Failure } from '../../src/core/failure.ts';
import type { Residency } from '../../src/core/resident.ts';
import type { Servers, Upstream, Visit, Visiting } from '../../src/core/serving.ts';

/** A program that is a server of the test's own, at a port of this machine. */
export class FakeUpstream implements Upstream {
  dials = 0;
  /** Connections to it that are open. */
  readonly open = new Set<Socket>();
  readonly #port: number;
  readonly #gone = new AbortController();
  readonly gone = this.#gone.signal;

  constructor(port: number) {
    this.#port = port;
  }

  async dial(): Promise<Socket> {
    this.dials += 1;
    const socket = connect(this.#port, '127.0.0.1');
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    this.open.add(socket);
    socket.once('close', () => this.open.delete(socket));
    return socket;
  }

  die(failure: Failure): void {
    this.#gone.abort(failure);
  }
}

/** Programs that were all started before the test began. */
export class FakeServers implements Servers {
  readonly visits: Visiting[] = [];
  /** Who was let in and has not left. */
  inside = 0;
  /** Why nobody is let in. */
  closed: Failure | null = null;
  /** What the plugin is said to have done wrong at the next request. */
  failure: Failure | null = null;
  readonly upstreams = new Map<string, FakeUpstream>();

  async enter({ plugin }: Residency, visiting: Visiting, signal: AbortSignal): Promise<Visit> {
    signal.throwIfAborted();
    if (this.closed !== null) throw this.closed;
    const upstream = this.upstreams.get(plugin.id);
    if (upstream === undefined) throw new Error(`${plugin.id} has no server`);
    this.visits.push(visiting);
    this.inside += 1;
    const own = this;
    return {
      upstream,
      headers: { 'isopod-request': visiting.id, 'isopod-user': 'told' },
      get failure() {
        return own.failure;
      },
      verdictOf: ({ 'isopod-verdict': verdict }) =>
        verdict === 'unrouted' || verdict === 'fault' ? verdict : 'answered',
      [Symbol.dispose]: () => {
        this.inside -= 1;
      },
    };
  }
}
