/**
 * Those who wait, in lines: the lines take turns, and in a line who came first is first. Thus nobody's backlog delays
 * the first of another line by more than one turn of each.
 */
export class Lines<Key, Waiter> {
  // The first is the line whose turn it is. Who was served goes to the end, and so does who is new.
  readonly #lines = new Map<Key, Set<Waiter>>();
  #size = 0;

  /** How many wait, in all lines. */
  get size(): number {
    return this.#size;
  }

  add(key: Key, waiter: Waiter): void {
    let line = this.#lines.get(key);
    if (line === undefined) {
      line = new Set();
      this.#lines.set(key, line);
    }
    line.add(waiter);
    this.#size += 1;
  }

  /** Nothing happens when it is not there any more. */
  delete(key: Key, waiter: Waiter): void {
    const line = this.#lines.get(key);
    if (line?.delete(waiter) !== true) return;
    this.#size -= 1;
    if (line.size === 0) this.#lines.delete(key);
  }

  /** Asks line by line, whose turn it is first. Whom `choose` names is taken out, and its line has had its turn. */
  next(choose: (line: Iterable<Waiter>, key: Key) => Waiter | undefined): Waiter | undefined {
    for (const [key, line] of this.#lines) {
      const chosen = choose(line, key);
      if (chosen === undefined) continue;
      this.#lines.delete(key);
      this.#lines.set(key, line);
      this.delete(key, chosen);
      return chosen;
    }
    return undefined;
  }

  /** How many turns there are until its own, that one included, if all lines move alike. */
  position(key: Key, waiter: Waiter): number {
    let before = 0;
    for (const one of this.#lines.get(key) ?? []) {
      if (one === waiter) break;
      before += 1;
    }
    let turns = before + 1;
    let isEarlier = true;
    for (const [other, line] of this.#lines) {
      if (other === key) isEarlier = false;
      else turns += Math.min(line.size, isEarlier ? before + 1 : before);
    }
    return turns;
  }

  /** Each line, whose turn it is first. */
  [Symbol.iterator](): Iterator<[Key, ReadonlySet<Waiter>]> {
    return this.#lines[Symbol.iterator]();
  }
}

/** Whoever waits, of a line: the first. */
export function first<Waiter>(line: Iterable<Waiter>): Waiter | undefined {
  for (const one of line) return one;
  return undefined;
}

/**
 * Whether somebody who has `mine` may take one more of the `free` ones: not as long as it has twice what is left.
 * One alone gets two thirds, two get two fifths each, and there is always something left for the next who comes.
 */
export function mayTake(mine: number, free: number): boolean {
  return free > 0 && mine < GREED * free;
}

/** What one may have by that of `most`, where nobody else takes any of it. */
export function partOf(most: number): number {
  return Math.floor((most * GREED) / (GREED + 1));
}

const GREED = 2;
