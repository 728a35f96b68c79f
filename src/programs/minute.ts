/** A sum that begins anew with every minute in which something is added. */
export class Minute {
  #since = 0;
  #sum = 0;

  /** Adds it, and gives the sum. */
  add(more: number): number {
    const now = performance.now();
    if (now - this.#since > 60_000) {
      this.#since = now;
      this.#sum = 0;
    }
    this.#sum += more;
    return this.#sum;
  }
}
