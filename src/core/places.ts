/**
 * What is under way, each thing under a number of its own, which comes back only after 65,535 others in its place.
 *
 * For what comes and goes tens of thousands of times a second. A Map or a Set leaves its outgrown tables behind, each
 * leading to the next; once the first of them is in V8's old generation, all that ever was in them gets there too.
 */
export class Places<T> {
  readonly #things: (T | undefined)[] = [];
  readonly #numbers: number[] = [];
  readonly #free: number[] = [];

  get size(): number {
    return this.#things.length - this.#free.length;
  }

  /** Takes a place; the number fits in 32 bits. Throws a RangeError when there are 65,536 things already. */
  add(thing: T): number {
    const place = this.#free.pop() ?? this.#things.length;
    if (place >= PLACES_MOST) throw new RangeError('too much is under way');
    const last = this.#numbers[place];
    // The place is in the lower half, and how often it was taken in the upper one.
    const number = last === undefined ? place + PLACES_MOST : last + PLACES_MOST;
    this.#things[place] = thing;
    this.#numbers[place] = number > NUMBER_MOST ? place + PLACES_MOST : number;
    return this.#numbers[place];
  }

  get(number: number): T | undefined {
    const place = number % PLACES_MOST;
    return this.#numbers[place] === number ? this.#things[place] : undefined;
  }

  /** Gives the place back; nothing happens when that was done before. */
  delete(number: number): void {
    const place = number % PLACES_MOST;
    if (this.#numbers[place] !== number || this.#things[place] === undefined) return;
    this.#things[place] = undefined;
    this.#free.push(place);
  }

  clear(): void {
    this.#things.length = 0;
    this.#numbers.length = 0;
    this.#free.length = 0;
  }

  *[Symbol.iterator](): Iterator<T> {
    for (const thing of this.#things) if (thing !== undefined) yield thing;
  }
}

const PLACES_MOST = 0x1_0000;
const NUMBER_MOST = 0xffff_ffff;
