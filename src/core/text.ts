/**
 * `text` without what could move a cursor, hide words or break a line, and not longer than `most`. For the words of
 * plugins wherever people read them.
 */
export function stripped(text: string, most: number): string {
  const short = text.length > most ? `${text.slice(0, most)}…` : text;
  return short.replace(UNSEEN, '').toWellFormed();
}

// Control characters but for tab and line feed, and what turns the direction of writing around.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this is about
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g;
