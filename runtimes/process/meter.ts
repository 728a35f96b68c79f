import type { Sample, Tree } from './tree.ts';

/** Looks at all running trees from one timer, and tells each run what its own uses. */
export class Meter {
  readonly #watched = new Set<() => void>();
  #timer: NodeJS.Timeout | null = null;

  watch(tree: Tree, onSample: (sample: Sample) => void): Disposable {
    const look = () => onSample(tree.sample());
    this.#watched.add(look);
    this.#timer ??= setInterval(() => {
      for (const one of this.#watched) one();
    }, INTERVAL_MS);
    return { [Symbol.dispose]: () => this.#forget(look) };
  }

  #forget(look: () => void): void {
    this.#watched.delete(look);
    if (this.#watched.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }
}

const INTERVAL_MS = 100;
