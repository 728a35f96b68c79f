import { stripped } from './text.ts';

const SENTENCES_MOST = 20;
const SENTENCE_LETTERS = 300;

/** What whoever writes a plugin ought to know of it: few sentences, none of them long, and all of them fit to be shown. */
export class Warnings {
  readonly #sentences: string[] = [];
  #more = 0;

  add(sentence: string): void {
    if (this.#sentences.length >= SENTENCES_MOST) this.#more += 1;
    else this.#sentences.push(stripped(sentence.replace(/\s+/g, ' '), SENTENCE_LETTERS));
  }

  get all(): string[] {
    return this.#more === 0 ? [...this.#sentences] : [...this.#sentences, `and ${this.#more} more`];
  }
}
