/**
 * What it costs us to carry something goes by its chunks more than by its bytes, and a program or a host that sends single
 * bytes would keep us from everybody else. So each has so many small chunks in a moment, in all that it says; after that
 * they wait for the next moment. Nothing is lost by that, and who streams words or events never gets there.
 */
export class Crumbs {
  #left = 0;
  #until = 0;

  /** How long to take nothing more, after a chunk that has come; 0 for not at all. In ms. */
  take(bytes: number, now: number): number {
    if (bytes >= SMALL_BYTES) return 0;
    if (now >= this.#until) {
      this.#until = now + MOMENT_MS;
      this.#left = IN_A_MOMENT;
    }
    this.#left -= 1;
    return this.#left > 0 ? 0 : this.#until - now;
  }
}

const SMALL_BYTES = 512;
/** Ten thousand a second. */
const MOMENT_MS = 50;
const IN_A_MOMENT = 500;
