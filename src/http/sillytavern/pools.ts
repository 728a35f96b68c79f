import { Socket } from 'node:net';
import { Pool } from 'undici';
import { Crumbs } from '../../core/crumbs.ts';
import { Failure } from '../../core/failure.ts';
import type { Upstream } from '../../core/serving.ts';

/** The ways to one program. */
export type Ways = { pool: Pool; crumbs: Crumbs };

/** The connections that are open to programs, kept for the next request for as long as a program runs. */
export class Pools {
  readonly #pools = new WeakMap<Upstream, Ways>();

  of(upstream: Upstream): Ways {
    return this.#pools.get(upstream) ?? this.#open(upstream);
  }

  #open(upstream: Upstream): Ways {
    const pool = new Pool('http://plugin', {
      // How many there are at once is bounded by whoever lets requests in, and how long they may be silent by Passage.
      connections: null,
      pipelining: 1,
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: (_options, connected) => {
        dialled(upstream).then(
          (socket) => connected(null, socket),
          (error) => connected(Failure.from(error), null),
        );
      },
    });
    const ways = { pool, crumbs: new Crumbs() };
    this.#pools.set(upstream, ways);
    const { gone } = upstream;
    const end = () => void pool.destroy(Failure.from(gone.reason)).catch(() => {});
    if (gone.aborted) end();
    else gone.addEventListener('abort', end, { once: true });
    return ways;
  }
}

async function dialled(upstream: Upstream): Promise<Socket> {
  const socket = await upstream.dial();
  if (socket instanceof Socket) return socket;
  throw new Failure('internal', 'What was dialled is no socket');
}
