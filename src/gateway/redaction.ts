/**
 * Finds a credential in a text, however JSON may write it: as it is, with characters escaped (`&` as `\u0026`, `/` as
 * `\/`), and that again where JSON stands in a string of JSON.
 */
export class Redaction {
  readonly #plain: readonly string[];
  readonly #pattern: RegExp;

  constructor(value: string) {
    this.#plain = writings(value);
    this.#pattern = new RegExp(this.#plain.map((one) => Array.from(one, written).join('')).join('|'), 'g');
  }

  /** `instead` goes in as a string of JSON would have it. */
  of(text: string, instead: string): string {
    const json = JSON.stringify(instead).slice(1, -1);
    if (text.includes('\\')) return text.replace(this.#pattern, () => json);
    return this.#plain.reduce((rest, one) => rest.replaceAll(one, () => json), text);
  }
}

/** The longest first: it, it without the word before it that says what kind it is (`Bearer …`), each also in a URL. */
function writings(value: string): string[] {
  const bare = value.slice(value.indexOf(' ') + 1);
  const all = [value, bare].filter((one) => one.length >= 8).flatMap((one) => [one, encodeURIComponent(one)]);
  return [...new Set(all)].sort((one, other) => other.length - one.length);
}

/** Few backslashes, so that a text of nothing else is not gone through again from each. */
function written(character: string): string {
  const code = character.charCodeAt(0).toString(16).padStart(4, '0');
  const hex = code.replace(/[a-f]/g, (letter) => `[${letter}${letter.toUpperCase()}]`);
  const escaped = `\\\\{1,8}u${hex}`;
  if (character === '"' || character === '/') return `(?:\\\\{0,8}${character}|${escaped})`;
  return `(?:${character.replace(/[$()*+.?[\]^{|}]/, '\\$&')}|${escaped})`;
}
