import { Failure } from '../core/failure.ts';

/** Those who wait for the same, at most, and how long each waits for it. */
const WAITING_MOST = 64;
const WAIT_MS = 10_000;

/** Who does something of a name does it alone; the others wait for their turns, and who came first is first. */
export class Turns {
  readonly #waiting = new Map<string, Set<() => void>>();

  /** Disposing ends it. The same name counts once. Throws `concurrency_limited`. */
  async take(names: readonly string[]): Promise<Disposable> {
    using scope = new DisposableStack();
    // Always in the same order, so that nobody waits in a circle.
    for (const name of [...new Set(names)].sort()) {
      await this.#take(name);
      scope.defer(() => this.#leave(name));
    }
    return scope.move();
  }

  #take(name: string): Promise<void> | undefined {
    const waiting = this.#waiting.get(name);
    if (waiting === undefined) {
      this.#waiting.set(name, new Set());
      return;
    }
    if (waiting.size >= WAITING_MOST) throw tooMany(waiting.size);
    return new Promise((resolve, reject) => {
      const admit = () => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        waiting.delete(admit);
        reject(tooMany(waiting.size));
      }, WAIT_MS);
      waiting.add(admit);
    });
  }

  #leave(name: string): void {
    const waiting = this.#waiting.get(name);
    for (const admit of waiting ?? []) {
      waiting?.delete(admit);
      admit();
      return;
    }
    this.#waiting.delete(name);
  }
}

function tooMany(before: number): Failure {
  const limit = { name: 'waitingForKey', allowed: WAITING_MOST, observed: before + 1, unit: 'count' } as const;
  const words = `${before} others are asking for the same key at this moment; ask for it once, and wait for the answer`;
  return new Failure('concurrency_limited', words, { limit, retryable: true, retryAfterMs: 1_000 });
}
