/**
 * Who may have an executor, and who has to give one up: decisions only, nothing is done here.
 *
 * Executors are had by *circles*: a tenant alone, or the tenants of a trust group. A circle has a bound over both lanes
 * together, of which one is kept for the other lane, and one for runs that share, so that no kind of run has to wait
 * for the end of all of another kind. While others might come, no circle has more than twice of what is left. Where all
 * are taken, those that have nothing to do give way, least recently used first. Where all are busy, nobody is killed
 * for it: but a circle that has more than the one that waits gives one up, which takes no further runs and ends with
 * its last.
 */
import { mayTake } from '../../src/core/fairness.ts';
import type { Executor } from './executor.ts';

export type Lane = 'brief' | 'long';

/** An executor that is asked for. `alone`: with nothing else in it, now or later. */
export type Wish = { trust: string; lane: Lane; alone: boolean; depth: number };

export type Bounds = {
  /** Executors in all, spares included. */
  most: number;
  /** Executors of one circle, on both lanes together: two or more. */
  perTenant: number;
};

/** What there is to know of an executor. */
export type Held = Pick<
  Executor,
  'trust' | 'lane' | 'alone' | 'taken' | 'isReady' | 'isGone' | 'retiring' | 'usedAt' | 'claimedAt'
>;

/** Long runs that share an executor: what one can take with it when it has to be killed. */
const LONG_EACH = 8;
/** Nobody has to give up what they have had for less. */
const TENURE_MS = 250;

/** Whether a run of the circle may be given to it. One that is alone is retiring from the start. */
export function takesMore(executor: Held, trust: string, lane: Lane): boolean {
  return executor.trust === trust && executor.lane === lane && !executor.retiring && !executor.isGone;
}

/**
 * Whether a run that wishes so can be given to it now. What others wait for finds room that those do not have, each
 * depth as much, and also where nothing new is taken any more: else they would wait for each other.
 */
export function hasRoom(executor: Held, { trust, lane, alone, depth }: Wish): boolean {
  if (alone) return false;
  if (depth === 0) return takesMore(executor, trust, lane) && (lane === 'brief' || executor.taken < LONG_EACH);
  const isOfCircle = executor.trust === trust && executor.lane === lane && !executor.alone && !executor.isGone;
  return isOfCircle && executor.taken < LONG_EACH * (1 + depth);
}

/** What a circle has. */
export class Holding {
  readonly trust: string;
  brief = 0;
  long = 0;
  /** Of the long ones. */
  alone = 0;
  /** Those of all circles that are running something. */
  busy = 0;

  constructor(all: Iterable<Held>, trust: string) {
    this.trust = trust;
    for (const one of all) {
      if (one.isGone || one.lane === 'spare') continue;
      if (one.taken > 0) this.busy += 1;
      if (one.trust !== trust) continue;
      this[one.lane] += 1;
      if (one.alone) this.alone += 1;
    }
  }

  get count(): number {
    return this.brief + this.long;
  }

  lacks({ lane, alone }: Wish): boolean {
    if (lane === 'brief') return this.brief === 0;
    return (alone ? this.alone : this.long - this.alone) === 0;
  }

  /** Its own bound allows one more of them. */
  isWithin({ lane, alone }: Wish, { perTenant }: Bounds): boolean {
    if (this.count >= perTenant || this[lane] >= perTenant - 1) return false;
    return !alone || this.alone < Math.max(1, perTenant - 2);
  }

  /** It may have one more of those that are free. */
  mayHave(wish: Wish, bounds: Bounds): boolean {
    const { most, perTenant } = bounds;
    return this.isWithin(wish, bounds) && (perTenant >= most || mayTake(this.count, most - this.busy));
  }
}

/** How many further executors the runs of a line could fill. */
export function fillable(line: Iterable<Wish>): number {
  let brief = 0;
  let shared = 0;
  let alone = 0;
  for (const wish of line) {
    if (wish.lane === 'brief') brief = 1;
    else if (wish.alone) alone += 1;
    else shared += 1;
  }
  return brief + alone + Math.ceil(shared / LONG_EACH);
}

/** The one that has had nothing to do for the longest, and since before the time given for its lane. */
export function idlest<One extends Held>(all: Iterable<One>, since: Record<Lane, number>): One | undefined {
  let found: One | undefined;
  for (const one of all) {
    if (one.taken > 0 || one.isGone || !one.isReady || one.lane === 'spare' || one.usedAt > since[one.lane]) continue;
    if (found === undefined || one.usedAt < found.usedAt) found = one;
  }
  return found;
}

/** Of a circle that is at its own bound, the one in whose place it could have the one that it wishes for. */
export function givesWayToItsOwn<One extends Held>(
  all: Iterable<One>,
  wish: Wish,
  { perTenant }: Bounds,
): One | undefined {
  const mine = new Holding(all, wish.trust);
  const isOfOtherLane = (one: One) => one.trust === wish.trust && one.lane !== wish.lane;
  const hasRoomInLane = mine[wish.lane] < perTenant - 1;
  const idle = hasRoomInLane ? quietest(all, (one) => isOfOtherLane(one) && one.taken === 0) : undefined;
  if (idle !== undefined || !mine.lacks(wish)) return idle;
  if (wish.alone) return quietest(all, (one) => one.trust === wish.trust && one.lane === 'long');
  return hasRoomInLane ? quietest(all, isOfOtherLane) : undefined;
}

/** Where nothing is free: one of the circle that has the most, if that is more than the one that wishes has. */
export function givesWayToOthers<One extends Held>(all: Iterable<One>, wish: Wish, now: number): One | undefined {
  const counts = new Map<string | undefined, number>();
  for (const one of all) {
    if (one.lane === 'spare' || one.isGone || one.retiring) continue;
    counts.set(one.trust, (counts.get(one.trust) ?? 0) + 1);
  }
  const mine = new Holding(all, wish.trust);
  const lacks = mine.lacks(wish);
  // One more for it, one less for the other: whoever lacks nothing gets it only where that makes them more alike.
  const least = lacks ? mine.count : mine.count + 1;
  let most = least;
  for (const [trust, count] of counts) if (trust !== wish.trust) most = Math.max(most, count);
  const isDue = (one: One) => now - one.claimedAt >= TENURE_MS;
  if (most > least)
    return quietest(all, (one) => isDue(one) && one.trust !== wish.trust && counts.get(one.trust) === most);
  if (!lacks) return undefined;
  return quietest(all, (one) => one.trust === wish.trust && isDue(one) && (wish.alone || one.lane !== wish.lane));
}

/** The one that the fewest runs share; of several, the one that was not used for the longest. */
function quietest<One extends Held>(all: Iterable<One>, fits: (one: One) => boolean): One | undefined {
  let found: One | undefined;
  for (const one of all) {
    if (one.lane === 'spare' || one.isGone || one.retiring || !fits(one)) continue;
    const isQuieter = found === undefined || one.taken < found.taken;
    if (isQuieter || (one.taken === found?.taken && one.usedAt < found.usedAt)) found = one;
  }
  return found;
}
