/**
 * `text`, or its first `most` letters with a mark that there were more. A copy of them: what is cut off in the usual way
 * keeps all of what it was cut from in memory, for as long as it is there itself.
 */
export function cut(text: string, most: number): string {
  return text.length > most ? `${Buffer.from(text.slice(0, most).toWellFormed()).toString()}…` : text;
}

/**
 * `text` without what could move a cursor, hide words or break a line, and not longer than `most`. For the words of
 * plugins wherever people read them.
 */
export function stripped(text: string, most: number): string {
  return cut(text, most).replace(UNSEEN, '').toWellFormed();
}

/**
 * `text` with the same characters written out as `\u001b`: harmless on a terminal, and nothing is lost. JSON stays the
 * same JSON, since there they can only stand inside of strings.
 */
export function writtenOut(text: string): string {
  return text.toWellFormed().replace(UNSEEN, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Two texts that differ in case only are one, in any script: upper case first, since ſ is an S. */
export function folded(text: string): string {
  return text.toUpperCase().toLowerCase();
}

// Control characters but for tab and line feed, and what turns the direction of writing around or has no width.
const UNSEEN =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this is about
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;
