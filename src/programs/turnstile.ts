import type { LimitHit } from '../core/failure.ts';
import { first, Lines, mayTake } from '../core/fairness.ts';
import { type Shortage, shortage } from '../core/shortage.ts';
import { onAbort } from '../core/signal.ts';

export type TurnstileBounds = {
  /** Programs that run at once, in all and of one tenant. */
  most: number;
  perTenant: number;
  /** Resident memory of all together, beyond which none is started. */
  memoryMb: number;
};

/**
 * Through here goes whoever starts a program; who finds no place waits until its deadline. Tenants take turns, and none
 * has more than twice of what is left to the others, in places or in memory. What runs is let run: it has limits of
 * its own. Each depth of runs that wait for each other has as many places.
 */
export class Turnstile {
  readonly #bounds: TurnstileBounds;
  readonly #lines = new Lines<string, Waiter>();
  readonly #places = new Set<Place>();

  constructor(bounds: TurnstileBounds) {
    this.#bounds = bounds;
  }

  get running(): number {
    return this.#places.size;
  }

  get waiting(): number {
    return this.#lines.size;
  }

  get residentBytes(): number {
    let bytes = 0;
    for (const place of this.#places) bytes += place.residentBytes;
    return bytes;
  }

  /** Rejects when the signal aborts: with its reason, or, if that was the deadline, with what there was no room in. */
  async enter(tenant: string, signal: AbortSignal, depth = 0): Promise<Place> {
    if (this.#hasRoom(tenant)) return this.#place(tenant, 0);
    if (this.#hasRoom(tenant, depth)) return this.#place(tenant, depth);
    return await this.#wait(tenant, signal, depth);
  }

  #wait(tenant: string, signal: AbortSignal, depth: number): Promise<Place> {
    signal.throwIfAborted();
    return new Promise<Place>((resolve, reject) => {
      const settle = () => {
        this.#lines.delete(tenant, waiter);
        stop[Symbol.dispose]();
      };
      const waiter: Waiter = {
        depth,
        admit: (at) => {
          settle();
          resolve(this.#place(tenant, at));
        },
      };
      const stop = onAbort(signal, (reason) => {
        const failure = shortage(reason, this.#short(tenant, waiter));
        settle();
        reject(failure);
      });
      this.#lines.add(tenant, waiter);
    });
  }

  #place(tenant: string, depth: number): Place {
    const place = new Place(tenant, depth, {
      onLess: () => this.#admit(),
      onLeave: () => {
        this.#places.delete(place);
        this.#admit();
      },
    });
    this.#places.add(place);
    return place;
  }

  #admit(): void {
    while (this.#lines.size > 0) {
      let depth = 0;
      const next = this.#lines.next((line, tenant) => {
        depth = 0;
        if (this.#hasRoom(tenant)) return first(line);
        for (const waiter of line) {
          depth = waiter.depth;
          if (depth > 0 && this.#hasRoom(tenant, depth)) return waiter;
        }
        return undefined;
      });
      if (next === undefined) return;
      next.admit(depth);
    }
  }

  #hasRoom(tenant: string, depth = 0): boolean {
    const had = this.#had(tenant, depth);
    return this.#hasPlace(had) && this.#hasMemory(had);
  }

  #hasPlace({ places, taken }: Had): boolean {
    const { most, perTenant } = this.#bounds;
    const free = most - taken;
    return places < perTenant && (perTenant >= most ? free > 0 : mayTake(places, free));
  }

  #hasMemory({ bytes }: Had): boolean {
    // Where nothing runs there is nothing to wait for.
    return this.#places.size === 0 || mayTake(bytes, this.#bounds.memoryMb * 2 ** 20 - this.residentBytes);
  }

  #had(tenant: string, depth = 0): Had {
    const had = { places: 0, bytes: 0, taken: 0 };
    for (const place of this.#places) {
      const counts = place.depth === depth;
      if (counts) had.taken += 1;
      if (place.tenant !== tenant) continue;
      if (counts) had.places += 1;
      had.bytes += place.residentBytes;
    }
    return had;
  }

  /** Why there was no place for it. */
  #short(tenant: string, waiter: Waiter): Shortage {
    const { most, perTenant, memoryMb } = this.#bounds;
    const had = this.#had(tenant);
    const position = `this run was number ${this.#lines.position(tenant, waiter)} of those that wait`;
    if (had.places >= perTenant) {
      const message = `The program could not be started in time: ${had.places} of this tenant are running, which is all that it may have; ${position}`;
      return { message, limit: count('processes.perTenant', perTenant, had.places + 1), own: true };
    }
    const message = `The program could not be started in time: ${this.#places.size} are running; ${position}`;
    const allowed = memoryMb * 2 ** 20;
    const limit: LimitHit = this.#hasPlace(had)
      ? { name: 'processes.memoryMb', allowed, observed: Math.max(allowed, this.residentBytes), unit: 'bytes' }
      : count('processes.most', most, had.taken + 1);
    return { message, limit, own: false };
  }
}

/** One program that runs. Leaving its scope gives the place to whose turn it is. */
export class Place implements Disposable {
  readonly tenant: string;
  readonly depth: number;
  readonly #told: { onLess(): void; onLeave(): void };
  #residentBytes = 0;

  constructor(tenant: string, depth: number, told: { onLess(): void; onLeave(): void }) {
    this.tenant = tenant;
    this.depth = depth;
    this.#told = told;
  }

  get residentBytes(): number {
    return this.#residentBytes;
  }

  /** What its processes use, as last measured. */
  set residentBytes(bytes: number) {
    const isLess = bytes < this.#residentBytes;
    this.#residentBytes = bytes;
    if (isLess) this.#told.onLess();
  }

  [Symbol.dispose](): void {
    this.#told.onLeave();
  }
}

/** What a tenant has, and how many places of that depth all have. */
type Had = { places: number; bytes: number; taken: number };

type Waiter = { depth: number; admit(at: number): void };

function count(name: string, allowed: number, observed: number): LimitHit {
  return { name, allowed, observed, unit: 'count' };
}
