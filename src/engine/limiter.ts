import { Failure, type LimitHit } from '../core/failure.ts';
import { first, Lines, mayTake } from '../core/fairness.ts';

export type LimiterOptions = {
  /** How many run at once. */
  running: number;
  /** How many wait for a place. */
  waiting: number;
  /** How long one waits at most, in ms. */
  waitMs: number;
};

/** `endless` waits for as long as it takes, and takes nobody's place in the waiting room: who has it is counted elsewhere. */
export type Patience = 'limited' | 'endless';

/**
 * Who may run now, who waits, and who is turned away. Everybody runs on a share; shares take turns, so that the backlog
 * of one delays no other, and while there are several no share has more than twice of what is left to the others. Every
 * refusal says which bound it was. A place that was given must be given back with `leave`.
 */
export class Limiter {
  readonly #options: LimiterOptions;
  readonly #lines = new Lines<Share, Waiter>();
  #shares = 0;
  #running = 0;
  /** By depth. */
  readonly #nested = new Map<number, number>();
  /** Those of limited patience. */
  #inRoom = 0;
  #closed: Failure | undefined;

  constructor(options: LimiterOptions) {
    this.#options = options;
  }

  get running(): number {
    return [...this.#nested.values()].reduce((sum, count) => sum + count, this.#running);
  }

  get waiting(): number {
    return this.#lines.size;
  }

  /** A share for a tenant. `most` may run on it at once; null sets no bound of its own. */
  share(most: number | null): Share {
    this.#shares += 1;
    return new Share(most, () => this.#admit());
  }

  /** Takes a place if one is free: the usual case, and nothing is made for it. */
  tryEnter(share: Share): boolean {
    if (this.#closed !== undefined) throw this.#closed;
    if (!this.#hasRoom(share)) return false;
    this.#running += 1;
    share.running += 1;
    return true;
  }

  /** A place for a run that another one waits for; each depth has as many. Give it back with `leaveNested`. */
  tryEnterNested(share: Share, depth: number): boolean {
    if (this.#closed !== undefined) throw this.#closed;
    const all = this.#nested.get(depth) ?? 0;
    const free = this.#options.running - all;
    const mine = share.nested.get(depth) ?? 0;
    if (!(this.#shares > 1 ? mayTake(mine, free) : free > 0)) return false;
    this.#nested.set(depth, all + 1);
    share.nested.set(depth, mine + 1);
    return true;
  }

  leaveNested(share: Share, depth: number): void {
    for (const counts of [this.#nested, share.nested]) {
      const left = (counts.get(depth) ?? 0) - 1;
      if (left > 0) counts.set(depth, left);
      else counts.delete(depth);
    }
  }

  /** Waits for a place. Rejects with a Failure: queue full, waited too long, closed, or the signal's reason. */
  wait(share: Share, signal: AbortSignal, patience: Patience): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    if (patience === 'limited') {
      const wanted = share.running + share.inRoom + 1;
      if (share.most === 0) return Promise.reject(overQuota(share, wanted, 'so nothing of it is run'));
      if (this.#inRoom >= this.#options.waiting && !this.#makeRoom(share)) {
        const position = `this one would have been number ${share.inRoom + 1} of its tenant's`;
        return Promise.reject(this.#noRoom(share, wanted, position));
      }
    }
    return new Promise<void>((resolve, reject) => {
      const settle = () => {
        this.#lines.delete(share, waiter);
        if (patience === 'limited') {
          this.#inRoom -= 1;
          share.inRoom -= 1;
        }
        clearTimeout(timer);
        signal.removeEventListener('abort', abort);
      };
      const waiter: Waiter = {
        patience,
        admit: () => {
          settle();
          this.#running += 1;
          share.running += 1;
          resolve();
        },
        refuse: (failure) => {
          settle();
          reject(failure);
        },
      };
      const abort = () => waiter.refuse(Failure.from(signal.reason));
      const late = () => waiter.refuse(this.#tooLate(share, waiter));
      const timer = patience === 'limited' ? setTimeout(late, this.#options.waitMs) : undefined;
      signal.addEventListener('abort', abort, { once: true });
      this.#lines.add(share, waiter);
      if (patience === 'limited') {
        this.#inRoom += 1;
        share.inRoom += 1;
      }
      if (signal.aborted) abort();
    });
  }

  /** Gives a place back, to whose turn it is. */
  leave(share: Share): void {
    this.#running -= 1;
    share.running -= 1;
    if (this.#lines.size > 0) this.#admit();
  }

  /** From now on everybody is refused, those who wait included. */
  close(failure: Failure): void {
    this.#closed = failure;
    for (const [, line] of [...this.#lines]) for (const waiter of [...line]) waiter.refuse(failure);
  }

  #hasRoom(share: Share): boolean {
    const free = this.#options.running - this.#running;
    if (share.most !== null && share.running >= share.most) return false;
    return this.#shares > 1 ? mayTake(share.running, free) : free > 0;
  }

  #admit(): void {
    for (;;) {
      const next = this.#lines.next((line, share) => (this.#hasRoom(share) ? first(line) : undefined));
      if (next === undefined) return;
      next.admit();
    }
  }

  /** The newest of the share with the most waiters gives way to one that has fewer. */
  #makeRoom(newcomer: Share): boolean {
    let fullest: Share | undefined;
    for (const [share] of this.#lines) {
      if (fullest === undefined || share.inRoom > fullest.inRoom) fullest = share;
    }
    if (fullest === undefined || newcomer.inRoom >= fullest.inRoom) return false;
    let newest: Waiter | undefined;
    for (const [share, line] of this.#lines) {
      if (share === fullest) for (const one of line) if (one.patience === 'limited') newest = one;
    }
    if (newest === undefined) return false;
    const wanted = fullest.running + fullest.inRoom;
    const position = `this one was number ${this.#lines.position(fullest, newest)} and gave way to another tenant's`;
    newest.refuse(this.#noRoom(fullest, wanted, position));
    return true;
  }

  #noRoom(share: Share, wanted: number, position: string): Failure {
    if (share.isFull) return overQuota(share, wanted, position);
    const { running, waiting } = this.#options;
    const limit = { name: 'waiting', allowed: waiting, observed: this.#inRoom + 1, unit: 'count' } as const;
    const message = `${this.#running} invocations are running, of ${running} at most, and ${waiting} are waiting, which is all this service takes; ${position}`;
    return new Failure('queue_full', message, { limit, ...LATER });
  }

  #tooLate(share: Share, waiter: Waiter): Failure {
    const { running, waitMs } = this.#options;
    const position = `this one was number ${this.#lines.position(share, waiter)} of those that wait`;
    if (share.isFull) {
      return overQuota(share, share.running + share.inRoom, `no place was free for ${waitMs} ms, and ${position}`);
    }
    const limit: LimitHit = { name: 'waitMs', allowed: waitMs, observed: waitMs, unit: 'ms' };
    const message = `No place was free for ${waitMs} ms; ${this.#running} invocations are running, of ${running} at most, and ${position}`;
    return new Failure('queue_timeout', message, { limit, ...LATER });
  }
}

/** What a tenant has of the places. */
export class Share {
  /** Read only outside of this file, as are `inRoom`, those of limited patience that wait, and `nested`. */
  running = 0;
  inRoom = 0;
  readonly nested = new Map<number, number>();
  #most: number | null;
  readonly #onMore: () => void;

  constructor(most: number | null, onMore: () => void) {
    this.#most = most;
    this.#onMore = onMore;
  }

  get most(): number | null {
    return this.#most;
  }

  set most(most: number | null) {
    this.#most = most;
    this.#onMore();
  }

  /** Its own bound is what keeps it from running one more. */
  get isFull(): boolean {
    return this.#most !== null && this.running >= this.#most;
  }
}

function overQuota(share: Share, observed: number, position: string): Failure {
  const allowed = share.most ?? 0;
  const limit: LimitHit = { name: 'quotas.running', allowed, observed, unit: 'count' };
  const message = `The quota of this tenant is ${allowed} invocations at once; ${share.running} are running, ${position}`;
  return new Failure('concurrency_limited', message, { limit, ...LATER });
}

type Waiter = { patience: Patience; admit(): void; refuse(failure: Failure): void };

const LATER = { retryable: true, retryAfterMs: 1_000 } as const;
