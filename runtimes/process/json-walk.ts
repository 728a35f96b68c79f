import { BACKSLASH, CLOSE_BRACE, CLOSE_BRACKET, isBlank, OPEN_BRACE, OPEN_BRACKET, QUOTE } from './json-signs.ts';

/**
 * How far a text is JSON. `JSON.parse` says only that a text is not, and of repeated keys it keeps the place of the
 * first; here are the answers it does not give: whether the text was right until it broke off, the members of the
 * outermost object in their order, repeats included, and whether it is too deep for anything that calls itself.
 *
 * The text is a stranger's and may be large: one pass, no recursion, and no pattern that could look twice.
 */
export type Walk = {
  /** `whole`: one JSON value. `cut`: the beginning of one. `broken`: neither. */
  end: 'whole' | 'cut' | 'broken';
  /** Of the outermost object, as far as they are complete: the key, and the JSON text of the value. */
  members: { key: string; value: string }[];
};

export function walk(text: string): Walk {
  const members: Walk['members'] = [];
  /** Whether each open bracket is an object's, outermost first. */
  const open: boolean[] = [];
  let next: 'value' | 'value or end' | 'key' | 'key or end' | 'colon' | 'comma or end' = 'value';
  let at = 0;
  let key = '';
  let valueAt = 0;

  for (;;) {
    while (isBlank(text.charCodeAt(at))) at++;
    if (next === 'comma or end' && open.length === 0) return { end: at === text.length ? 'whole' : 'broken', members };
    if (at === text.length) return { end: 'cut', members };
    const char = text[at] as string;
    const inObject = open.at(-1) === true;

    if (next.endsWith('end') && char === (inObject ? '}' : ']')) {
      at++;
      open.pop();
    } else if (next === 'colon' || next === 'comma or end') {
      if (char !== (next === 'colon' ? ':' : ',')) return { end: 'broken', members };
      at++;
      next = next === 'colon' || !inObject ? 'value' : 'key';
      continue;
    } else if (next === 'key' || next === 'key or end') {
      const after = char === '"' ? stringEnd(text, at) : 'broken';
      if (typeof after === 'string') return { end: after, members };
      if (open.length === 1) key = JSON.parse(text.slice(at, after));
      at = after;
      next = 'colon';
      continue;
    } else {
      if (open.length === 1) valueAt = at;
      if (char === '{' || char === '[') {
        at++;
        open.push(char === '{');
        next = char === '{' ? 'key or end' : 'value or end';
        continue;
      }
      const after = char === '"' ? stringEnd(text, at) : wordEnd(text, at);
      if (typeof after === 'string') return { end: after, members };
      at = after;
    }

    // A value has ended here, with its last bracket or as a whole.
    if (open.length === 1 && open[0] === true) members.push({ key, value: text.slice(valueAt, at) });
    next = 'comma or end';
  }
}

/** Whether brackets stand open within each other more than `most` times, be the text JSON or not. */
export function deeperThan(text: string, most: number): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === QUOTE) {
      const after = stringEnd(text, at);
      // Nothing behind this is inside of anything.
      if (typeof after === 'string') return false;
      at = after - 1;
    } else if (char === OPEN_BRACE || char === OPEN_BRACKET) {
      depth++;
      if (depth > most) return true;
    } else if (char === CLOSE_BRACE || char === CLOSE_BRACKET) depth--;
  }
  return false;
}

/** Where the string that begins at `from` ends, or why it does not. */
function stringEnd(text: string, from: number): number | 'cut' | 'broken' {
  for (let at = from + 1; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === QUOTE) return at + 1;
    if (char < 0x20) return 'broken';
    if (char !== BACKSLASH) continue;
    at++;
    if (at === text.length) return 'cut';
    if (text[at] === 'u') {
      for (const last = at + 4; at < last; at++) {
        if (at + 1 === text.length) return 'cut';
        if (!/[0-9a-fA-F]/.test(text[at + 1] as string)) return 'broken';
      }
    } else if (!'"\\/bfnrt'.includes(text[at] as string)) return 'broken';
  }
  return 'cut';
}

/** The same for a number, `true`, `false` or `null`: they reach to the next blank, comma or bracket. */
function wordEnd(text: string, from: number): number | 'cut' | 'broken' {
  let at = from;
  while (at < text.length && !isBlank(text.charCodeAt(at)) && !',]}'.includes(text[at] as string)) {
    // No word is longer, and a number this long is not looked at beyond it.
    if (at - from > LONGEST_WORD) return 'broken';
    at++;
  }
  const word = text.slice(from, at);
  if (/^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/.test(word)) return at;
  if (at < text.length) return 'broken';
  const begins = ['true', 'false', 'null'].some((whole) => whole.startsWith(word));
  return begins || /^-?(?:(?:0|[1-9]\d*)(?:\.|(?:\.\d+)?[eE][+-]?)?)?$/.test(word) ? 'cut' : 'broken';
}

const LONGEST_WORD = 4096;
