import { deeperThan, walk } from './json-walk.ts';

/**
 * What a raw plugin answered, by the decision table of Stash (its text as a whole is decoded into
 * `{error: string | null, output: any}`), with two repairs. Contract: Stash `pkg/plugin/raw.go`.
 *
 * Text that is the beginning of a JSON object and breaks off is `cut`. Stash hands it out as a string, so that half
 * an answer looks like a whole one. And an object nested more than `DEEPEST` levels is `deep`: whoever reads our
 * answer would have to be able to read that too, and many a parser dies of it. (Stash gives up at 10,000.)
 */
export type Answer =
  /** `output` is JSON text. */
  { kind: 'answer'; error: string | null; output: string } | { kind: 'cut' | 'deep'; output: string; preview: string };

/** In levels, the outermost object being the first. */
export const DEEPEST = 1000;

/** How much of an unfit answer is shown, in characters. */
export const PREVIEW = 200;

export function readAnswer(stdout: Buffer): Answer {
  const text = DECODER.decode(stdout);
  if (!/^[ \t\r\n]*\{/.test(text)) return readOther(text);
  // First of all, since what comes below calls itself for every level.
  if (deeperThan(text, DEEPEST)) {
    const { end } = walk(text.trimEnd());
    return end === 'broken' ? raw(text) : unfit(end === 'cut' ? 'cut' : 'deep', text);
  }
  let fields: Fields;
  try {
    fields = readFields(text);
  } catch {
    // The line break that `print` adds is no part of what broke off.
    const { end } = walk(text.trimEnd());
    return end === 'cut' ? unfit('cut', text) : raw(text);
  }
  const { error, output, isMistyped } = fields;
  return isMistyped ? { ...raw(text), error } : { kind: 'answer', error, output };
}

/** `output` is JSON text. */
export type Fields = { error: string | null; output: string; isMistyped: boolean };

/**
 * The fields of an answer in the text of a JSON object, which is not deeper than `DEEPEST`. Go matches keys without
 * regard to case and takes them in their order, so the last one of a field counts. Throws where the text is no JSON.
 */
export function readFields(text: string): Fields {
  const parsed = JSON.parse(text, mayOverflow(text) ? refuseInfinity : undefined);
  let error: string | null = null;
  let output: unknown = null;
  let isMistyped = false;
  for (const { key, value } of membersOf(text, parsed)) {
    const name = key.toLowerCase();
    if (name === 'output') output = value;
    if (name !== 'error') continue;
    if (value === null) error = null;
    else if (typeof value === 'string') error = value;
    else {
      // An error that is no text: Go has made room for it before it finds out, so it is there, and empty.
      error ??= '';
      isMistyped = true;
    }
  }
  return { error: error?.toWellFormed() ?? null, output: JSON.stringify(wellFormed(text, output)), isMistyped };
}

// Not `fatal`: what is not UTF-8 becomes U+FFFD. A byte order mark stays, since it makes the text no JSON for Go.
export const DECODER = new TextDecoder('utf-8', { ignoreBOM: true });

/** What does not begin like an object: only `null` is an answer, all else is the text itself. */
function readOther(text: string): Answer & { kind: 'answer' } {
  return /^[ \t\r\n]*null[ \t\r\n]*$/.test(text) ? { kind: 'answer', error: null, output: 'null' } : raw(text);
}

function raw(text: string): Answer & { kind: 'answer' } {
  return { kind: 'answer', error: null, output: JSON.stringify(text.toWellFormed()) };
}

function unfit(kind: 'cut' | 'deep', text: string): Answer {
  return { ...raw(text), kind, preview: text.slice(0, PREVIEW) };
}

/** All members in their order. Only a text in which a field may be written twice is worth looking at again. */
function membersOf(text: string, parsed: Record<string, unknown>): { key: string; value: unknown }[] {
  const repeats = (name: RegExp) => (text.match(name)?.length ?? 0) > 1;
  if (!repeats(/"error"\s*:/gi) && !repeats(/"output"\s*:/gi)) {
    return Object.entries(parsed).map(([key, value]) => ({ key, value }));
  }
  return walk(text).members.map(({ key, value }) => ({ key, value: JSON.parse(value) }));
}

/**
 * Whether there may be a number too large to hold, which Go refuses and JavaScript makes Infinity. One pass over the
 * characters: a pattern like \d{309} would begin anew at every digit.
 */
function mayOverflow(text: string): boolean {
  let digits = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    digits = char >= 0x30 && char <= 0x39 ? digits + 1 : 0;
    if (digits > 300) return true;
  }
  return /\d[eE]\+?\d{3}/.test(text);
}

function refuseInfinity(_key: string, value: unknown): unknown {
  if (value === Number.POSITIVE_INFINITY || value === Number.NEGATIVE_INFINITY) throw new SyntaxError('too large');
  return value;
}

/** Half surrogate pairs, which only an escape can bring in, become U+FFFD as in Go. */
function wellFormed(text: string, value: unknown): unknown {
  if (!/\\u[dD][89a-fA-F]/.test(text)) return value;
  return JSON.parse(JSON.stringify(value), (_key, one) => (typeof one === 'string' ? one.toWellFormed() : one));
}
