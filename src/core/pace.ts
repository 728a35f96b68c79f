import { first, Lines } from './fairness.ts';

/**
 * Lets work that takes some ms be done piece after piece, with everybody else's in between, and those who have much of it
 * take turns with those who have little.
 */
export class Pace {
  readonly #lines = new Lines<string, () => void>();
  #isDue = false;

  /** Resolves when it is the turn of one of `who`. What is done then without waiting for anything is its piece. */
  turn(who: string): Promise<void> {
    return new Promise((resolve) => {
      this.#lines.add(who, resolve);
      if (this.#isDue) return;
      this.#isDue = true;
      setImmediate(() => this.#next());
    });
  }

  #next(): void {
    this.#lines.next(first)?.();
    this.#isDue = this.#lines.size > 0;
    // One asked for here is due after everything that is ready by now.
    if (this.#isDue) setImmediate(() => this.#next());
  }
}
