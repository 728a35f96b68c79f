import { type Chain, chainText } from '../core/chain.ts';
import { Failure } from '../core/failure.ts';
import type { Tenancy } from './tenancy.ts';

/** Beginnings that are remembered of a tenant; those that were not heard of for the longest go first. */
const ROOTS_MOST = 1_000;
/** What began longer ago than this, and was not heard of since, has come to its end. */
const FORGET_MS = 3_600_000;

type Width = { runs: number; at: number; last: string };

/**
 * How many hook runs have come of each beginning on this node, not counting those that an event from outside sets off
 * itself: its plugins may be many. A circle that does not become deeper becomes wider.
 */
export class ChainWidths {
  readonly #most: number;
  readonly #byTenancy = new WeakMap<Tenancy, Map<string, Width>>();

  constructor(most: number) {
    this.#most = most;
  }

  /** Throws `hook_loop`, and counts none of them, where they would be too many. The same event counts once. */
  take(tenancy: Tenancy, { chain, event, runs }: { chain: Chain; event: string; runs: number }): void {
    const now = performance.now();
    const roots = this.#byTenancy.get(tenancy) ?? new Map<string, Width>();
    this.#byTenancy.set(tenancy, roots);
    const before = roots.get(chain.root);
    const known = before !== undefined && now - before.at < FORGET_MS ? before.runs : 0;
    if (before?.last === event) return;
    const observed = known + runs;
    if (observed > this.#most) throw tooWide(chain, this.#most, observed);
    // The last one heard of is the last one of the map.
    roots.delete(chain.root);
    roots.set(chain.root, { runs: observed, at: now, last: event });
    for (const root of roots.keys()) {
      if (roots.size <= ROOTS_MOST) break;
      roots.delete(root);
    }
  }
}

function tooWide({ links }: Chain, allowed: number, observed: number): Failure {
  const limit = { name: 'hooks.width', allowed, observed, unit: 'count' } as const;
  return new Failure('hook_loop', `Plugins have set off too many hooks: ${chainText(links)}`, { limit });
}
