import { sortedKeys } from './go-keys.ts';

/**
 * `value` as Go's `encoding/json` writes it, in pieces; `sorted` for what is a map over there and not a struct.
 *
 * A value may be 10 MB, and to write it in one go would hold up everybody for a second. So no piece takes longer than
 * a few milliseconds to come, and whoever takes them can let others have their turn in between; some are empty and
 * there for that alone. No recursion, since a value may be deep. Throws a RangeError for one that is too deep for Go.
 */
export function* goJson(value: unknown, sorted: boolean): Generator<string, void> {
  let text = '';
  /** What is begun, outermost first. */
  const open: Begun[] = [];
  for (;;) {
    if (typeof value === 'string' && value.length > PIECE) {
      yield text;
      text = '';
      yield* longString(value);
    } else if (typeof value !== 'object' || value === null) text += goScalar(value);
    else {
      const keys = Array.isArray(value) ? null : Object.keys(value);
      text += keys === null ? '[' : '{';
      const map = value as Record<string | number, unknown>;
      const order = keys !== null && sorted ? yield* sortedKeys(keys) : keys;
      open.push({ map, keys: order, count: order?.length ?? (value as unknown[]).length, at: 0, isFirst: true });
      if (open.length > DEEPEST) throw new RangeError('nested too deeply');
    }

    for (;;) {
      if (text.length > PIECE) {
        yield text;
        text = '';
      }
      const begun = open.at(-1);
      if (begun === undefined) {
        yield text;
        return;
      }
      if (begun.at === begun.count) {
        text += begun.keys === null ? ']' : '}';
        open.pop();
        continue;
      }
      const key = begun.keys?.[begun.at] ?? begun.at;
      begun.at++;
      value = begun.map[key];
      if (value === undefined && begun.keys !== null) continue;
      if (!begun.isFirst) text += ',';
      begun.isFirst = false;
      if (typeof key === 'number') break;
      if (key.length > PIECE) {
        yield text;
        yield* longString(key);
        text = ':';
      } else text += `${goString(key)}:`;
      break;
    }
  }
}

/** An array, or an object and its keys. */
type Begun = {
  map: Record<string | number, unknown>;
  keys: readonly string[] | null;
  count: number;
  at: number;
  isFirst: boolean;
};

function goScalar(value: unknown): string {
  if (typeof value === 'string') return goString(value);
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : JSON.stringify(value);
  return typeof value === 'boolean' ? String(value) : 'null';
}

function goString(text: string): string {
  const json = JSON.stringify(text.toWellFormed());
  // Most have none of these, and to look is cheaper than to replace.
  return SPECIAL.test(json) ? json.replace(SPECIALS, (one) => ESCAPES[one] as string) : json;
}

function* longString(text: string): Generator<string, void> {
  yield '"';
  for (let at = 0; at < text.length; ) {
    let end = at + PIECE;
    // Not between the two halves of a pair.
    if (/[\ud800-\udbff]/.test(text[end - 1] ?? '')) end++;
    yield goString(text.slice(at, end)).slice(1, -1);
    at = end;
  }
  yield '"';
}

/** Go escapes these so that its JSON may stand in a script. */
const SPECIAL = /[<>&\u2028\u2029]/;
const SPECIALS = new RegExp(SPECIAL, 'g');
const ESCAPES: Record<string, string> = {
  '<': '\\u003c',
  '>': '\\u003e',
  '&': '\\u0026',
  '\u2028': '\\u2028',
  '\u2029': '\\u2029',
};

/** In characters. */
const PIECE = 32_768;
/** What Go's decoder takes. */
const DEEPEST = 10_000;
