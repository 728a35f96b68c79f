/**
 * Work that is done over and over. Whoever asks gets a round that began after they asked, since one that is under way
 * may have passed what they changed; those who ask in the meantime share the next one.
 */
export class Again<T = void> {
  readonly #work: () => Promise<T>;
  #running: Promise<T> | null = null;
  #next: Promise<T> | null = null;

  constructor(work: () => Promise<T>) {
    this.#work = work;
  }

  ask(): Promise<T> {
    if (this.#running === null) return this.#begin();
    this.#next ??= this.#running
      .catch(() => {})
      .then(() => {
        this.#next = null;
        return this.#begin();
      });
    return this.#next;
  }

  /** Resolves when the round that is under way is over, however it ends. */
  async idle(): Promise<void> {
    await this.#running?.catch(() => {});
  }

  #begin(): Promise<T> {
    const running = this.#work().finally(() => {
      if (this.#running === running) this.#running = null;
    });
    this.#running = running;
    return running;
  }
}
