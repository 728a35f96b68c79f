import { setImmediate as turn } from 'node:timers/promises';
import type { Sample, Tree } from '../confinement/tree.ts';
import type { Memory } from './memory.ts';

export type Watch = {
  tree: Pick<Tree, 'sample' | 'proportionalBytes'>;
  memory: Memory;
  /** Beyond so many nobody needs to know how many processes there are. */
  mostProcesses: number;
  onSample: (sample: Sample) => void;
  /** What the tree takes by exact count, if there was reason to ask. */
  onWeight: (bytes: number) => void;
};

/**
 * Looks at all running trees in rounds, and tells each run what its own uses. The looks are ours and cost the service:
 * so others get their turn between any two of them, a round that took long is followed by a rest ten times as long,
 * and of what is slow (see memory.ts) there is never more than one under way.
 */
export class Meter {
  readonly #watched = new Set<Watch>();
  #timer: NodeJS.Timeout | null = null;
  #looking = false;
  #weighing = false;

  watch(watch: Watch): Disposable {
    this.#watched.add(watch);
    this.#schedule(INTERVAL_MS);
    return { [Symbol.dispose]: () => this.#forget(watch) };
  }

  async #round(): Promise<void> {
    this.#timer = null;
    this.#looking = true;
    let tookMs = 0;
    for (const watch of [...this.#watched]) {
      if (!this.#watched.has(watch)) continue;
      const before = performance.now();
      this.#look(watch);
      tookMs += performance.now() - before;
      await turn();
    }
    this.#looking = false;
    this.#schedule(Math.max(INTERVAL_MS, REST * tookMs));
  }

  #look(watch: Watch): void {
    const sample = watch.tree.sample(watch.mostProcesses + 1);
    watch.memory.see(sample);
    watch.onSample(sample);
    if (this.#weighing || !this.#watched.has(watch) || !watch.memory.isDue(sample)) return;
    // To the end of the row, or the first ones would always be the first.
    this.#watched.delete(watch);
    this.#watched.add(watch);
    void this.#weigh(watch);
  }

  async #weigh(watch: Watch): Promise<void> {
    this.#weighing = true;
    try {
      const bytes = await watch.memory.weigh(watch.tree);
      if (this.#watched.has(watch)) watch.onWeight(bytes);
    } finally {
      this.#weighing = false;
    }
  }

  #schedule(ms: number): void {
    if (this.#watched.size > 0 && !this.#looking) this.#timer ??= setTimeout(() => this.#round(), ms);
  }

  #forget(watch: Watch): void {
    this.#watched.delete(watch);
    if (this.#watched.size > 0 || this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#timer = null;
  }
}

const INTERVAL_MS = 100;
const REST = 10;
