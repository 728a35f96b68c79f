/** What the operator should know about the database, as it happens. `words` are the server's or the system's own. */
export type Notice = { level: 'warn' | 'info'; what: string; words?: string };

/** Kept for whoever comes later to hear them. */
const KEPT_MOST = 20;

/** Whether the database is out of reach, and what there was to say about it: once when it goes, once when it is back. */
export class Trouble {
  readonly #hearers = new Set<(notice: Notice) => void>();
  #unheard: Notice[] = [];
  #isOn = false;

  get isOn(): boolean {
    return this.#isOn;
  }

  begin(error: Error): void {
    if (this.#isOn) return;
    this.#isOn = true;
    this.#tell({ level: 'warn', what: 'The database cannot be reached', words: error.message });
  }

  end(): void {
    if (!this.#isOn) return;
    this.#isOn = false;
    this.#tell({ level: 'info', what: 'The database can be reached again' });
  }

  complain(what: string, words: string): void {
    this.#tell({ level: 'warn', what, words });
  }

  /** Tells all that nobody has heard yet, and then what comes. */
  hear(hearer: (notice: Notice) => void): Disposable {
    this.#hearers.add(hearer);
    for (const notice of this.#unheard.splice(0)) hearer(notice);
    return { [Symbol.dispose]: () => void this.#hearers.delete(hearer) };
  }

  #tell(notice: Notice): void {
    for (const hear of this.#hearers) hear(notice);
    if (this.#hearers.size > 0) return;
    this.#unheard.push(notice);
    if (this.#unheard.length > KEPT_MOST) this.#unheard.shift();
  }
}
