/** Where what happens is put in. `end`: no more will come. */
export type Letterbox<T> = { put(item: T): void; end(): void };

/**
 * What happens, one after the other, for one reader. It is open until the reader is done; what comes while the reader has
 * `most` waiting is not kept.
 */
export class Inbox<T> implements AsyncIterableIterator<T, undefined> {
  readonly #most: number;
  readonly #source: Disposable;
  readonly #items: T[] = [];
  readonly #waiting: ((result: IteratorResult<T, undefined>) => void)[] = [];
  #done = false;

  constructor(open: (box: Letterbox<T>) => Disposable, most: number) {
    this.#most = most;
    this.#source = open({ put: (item) => this.#put(item), end: () => this.#end() });
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    if (this.#done) return DONE;
    if (this.#items.length > 0) return { done: false, value: this.#items.shift() as T };
    return await new Promise((resolve) => this.#waiting.push(resolve));
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.#end();
    return DONE;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #end(): void {
    this.#done = true;
    this.#source[Symbol.dispose]();
    for (const resolve of this.#waiting.splice(0)) resolve(DONE);
  }

  #put(item: T): void {
    if (this.#done) return;
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) waiting({ done: false, value: item });
    else if (this.#items.length < this.#most) this.#items.push(item);
  }
}

const DONE = Object.freeze({ done: true, value: undefined });
