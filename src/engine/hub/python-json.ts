/**
 * JSON in the one form that signatures of manifests are made for: what Python writes with
 * `json.dumps(json.loads(text), separators=(",", ":"))`. Its keys stand in the order in which they came, which no object
 * of ours keeps; its whole numbers have all their digits; the others look as Python's do. So it is made from the text
 * itself.
 *
 * What can be read in two ways has no such form: a key that is there twice, and what is no JSON but for Python (NaN).
 */

const DEEPEST = 100;
/** More digits are no number to Python. */
const DIGITS_MOST = 4_300;
const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;

/** The members of an object, each in that form, by key. Throws a SyntaxError. */
export function pythonMembers(text: string): Map<string, string> {
  return new Rewriting(text).whole();
}

class Rewriting {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  whole(): Map<string, string> {
    const members = this.#members(1);
    this.#take(SPACE);
    if (this.#at < this.#text.length) throw this.#unexpected();
    return members;
  }

  #value(depth: number): string {
    if (depth > DEEPEST) throw new SyntaxError(`It is nested deeper than ${DEEPEST} levels`);
    switch (this.#next()) {
      case '{': {
        const members = [...this.#members(depth)].map(([key, value]) => `${written(key)}:${value}`);
        return `{${members.join(',')}}`;
      }
      case '[':
        return `[${this.#list(depth).join(',')}]`;
      case '"':
        return written(this.#string());
      default:
        return this.#take(WORD)?.[0] ?? this.#number();
    }
  }

  #members(depth: number): Map<string, string> {
    const members = new Map<string, string>();
    this.#expect('{');
    if (this.#skips('}')) return members;
    do {
      if (this.#next() !== '"') throw this.#unexpected();
      const key = this.#string();
      if (members.has(key)) throw new SyntaxError('A key is there twice');
      this.#expect(':');
      members.set(key, this.#value(depth + 1));
    } while (this.#skips(','));
    this.#expect('}');
    return members;
  }

  #list(depth: number): string[] {
    const values: string[] = [];
    this.#expect('[');
    if (this.#skips(']')) return values;
    do values.push(this.#value(depth + 1));
    while (this.#skips(','));
    this.#expect(']');
    return values;
  }

  #string(): string {
    const from = this.#at;
    let to = from + 1;
    while (to < this.#text.length && this.#text[to] !== '"') to += this.#text[to] === '\\' ? 2 : 1;
    this.#at = to + 1;
    return JSON.parse(this.#text.slice(from, this.#at));
  }

  #number(): string {
    const found = this.#take(NUMBER);
    if (found === null) throw this.#unexpected();
    const [digits, fraction, exponent] = found;
    if (fraction !== undefined || exponent !== undefined) return writtenFloat(Number(digits));
    if (digits.length > DIGITS_MOST) throw new SyntaxError('A number has too many digits');
    return digits === '-0' ? '0' : digits;
  }

  /** The letter that is next, after all space. */
  #next(): string | undefined {
    this.#take(SPACE);
    return this.#text[this.#at];
  }

  #skips(letter: string): boolean {
    if (this.#next() !== letter) return false;
    this.#at += 1;
    return true;
  }

  #expect(letter: string): void {
    if (!this.#skips(letter)) throw this.#unexpected();
  }

  #take(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found !== null) this.#at += found[0].length;
    return found;
  }

  #unexpected(): SyntaxError {
    return new SyntaxError(`This is no JSON at ${this.#at}`);
  }
}

/** In ASCII, with the small hexadecimal digits of Python. */
function written(text: string): string {
  // JSON.stringify agrees on all that is ASCII but DEL, and leaves the rest alone, or writes it in the same way.
  return JSON.stringify(text).replace(BEYOND, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

const BEYOND = /[\u007f-\uffff]/g;

/** Both write the fewest digits that mean the number. They differ in when they write an exponent, and how. */
function writtenFloat(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity';
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  const [mantissa = '0', exponent = '0'] = Math.abs(value).toExponential().split('e');
  const digits = mantissa.replace('.', '');
  const power = Number(exponent);
  if (power < -4 || power >= 16) {
    const more = digits.length > 1 ? `${digits[0]}.${digits.slice(1)}` : digits;
    return `${sign}${more}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
  }
  if (power < 0) return `${sign}0.${'0'.repeat(-power - 1)}${digits}`;
  const padded = digits.padEnd(power + 2, '0');
  return `${sign}${padded.slice(0, power + 1)}.${padded.slice(power + 1)}`;
}
