/**
 * Finds words in a text, all of them in one pass, however they and the text are made: to look for one after the other can
 * take as long as both together are long, squared. (Aho and Corasick, 1975.)
 */
export class Words {
  /** Of each state, where a letter leads. */
  readonly #next: Map<number, number>[] = [new Map()];
  /** Of each state, that of the longest rest of it which begins a word, too. */
  readonly #fail: number[] = [0];
  /** Of each state, how long the longest word is that ends there; 0 where none does. */
  readonly #ends: number[] = [0];

  constructor(words: readonly string[]) {
    for (const word of words) this.#add(word);
    this.#link();
  }

  /** The text with `by` in place of each word; where words overlap, in place of all that they cover. */
  replaced(text: string, by: string): string {
    if (this.#next.length === 1) return text;
    const covered: { from: number; to: number }[] = [];
    let state = 0;
    for (let at = 0; at < text.length; at++) {
      state = this.#after(state, text.charCodeAt(at));
      const length = this.#ends[state] ?? 0;
      if (length > 0) cover(covered, at + 1 - length, at + 1);
    }
    if (covered.length === 0) return text;
    let result = '';
    let done = 0;
    for (const { from, to } of covered) {
      result += text.slice(done, from) + by;
      done = to;
    }
    return result + text.slice(done);
  }

  #add(word: string): void {
    let state = 0;
    for (let at = 0; at < word.length; at++) {
      const code = word.charCodeAt(at);
      const known = this.#next[state]?.get(code);
      if (known === undefined) {
        this.#next.push(new Map());
        this.#fail.push(0);
        this.#ends.push(0);
        this.#next[state]?.set(code, this.#next.length - 1);
        state = this.#next.length - 1;
      } else state = known;
    }
    this.#ends[state] = word.length;
  }

  #link(): void {
    const queue = [...(this.#next[0]?.values() ?? [])];
    for (let head = 0; head < queue.length; head++) {
      const state = queue[head] as number;
      for (const [code, child] of this.#next[state] as Map<number, number>) {
        const fail = this.#after(this.#fail[state] ?? 0, code);
        this.#fail[child] = fail;
        this.#ends[child] = Math.max(this.#ends[child] ?? 0, this.#ends[fail] ?? 0);
        queue.push(child);
      }
    }
  }

  #after(state: number, code: number): number {
    for (let from = state; ; from = this.#fail[from] ?? 0) {
      const next = this.#next[from]?.get(code);
      if (next !== undefined) return next;
      if (from === 0) return 0;
    }
  }
}

/** Adds a part of a text to those that are covered, which are in order and do not overlap. */
function cover(covered: { from: number; to: number }[], from: number, to: number): void {
  let last = covered.at(-1);
  let begin = from;
  while (last !== undefined && last.to > begin) {
    begin = Math.min(begin, last.from);
    covered.pop();
    last = covered.at(-1);
  }
  covered.push({ from: begin, to });
}
