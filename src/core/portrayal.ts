/**
 * Portraits as somebody has written them: a manifest, or a program that says what it is. Neither is believed. What comes
 * out can be kept as JSON by any database, and has a bound. Contract: Dispatcharr `PluginFieldSerializer` and
 * `PluginActionSerializer`, which drop an entry as soon as one of its values is none of what they take.
 */
import { type Action, FIELD_TYPES, type FormField, type Portrait } from './portrait.ts';
import { cut, stripped } from './text.ts';

/** Both lists together have 256 KB. */
const FIELDS = { called: 'fields', most: 500, bytes: 192 * 1024 };
const ACTIONS = { called: 'actions', most: 200, bytes: 64 * 1024 };
const ID_LETTERS = 200;
const TEXT_LETTERS = 16 * 1024;
const OPTIONS_MOST = 1_000;
const EVENTS_MOST = 100;
/** Of a default, or of what is asked before an action: lists and objects inside each other; values and letters in all. */
const JSON_DEPTH = 32;
const JSON_MOST = { values: 10_000, letters: 128 * 1024 };
/** Of a number that is written as text. */
const NUMBER_LETTERS = 1_000;

/** Told of what is left out and why, in a sentence for whoever has written it. */
export type Warn = (sentence: string) => void;

/** What is no text counts as not said, as in its host; so do lists that are none. */
export function portrayed(raw: Readonly<Record<string, unknown>>, warn: Warn = () => {}): Portrait {
  return {
    name: words(raw.name, NAME_LETTERS),
    version: words(raw.version, NAME_LETTERS),
    description: words(raw.description, TEXT_LETTERS),
    author: words(raw.author, NAME_LETTERS),
    helpUrl: words(raw.help_url, URL_LETTERS),
    fields: fieldsOf(raw.fields, warn),
    actions: actionsOf(raw.actions, warn),
  };
}

const NAME_LETTERS = 255;
const URL_LETTERS = 2_048;

/** The fields of a form: those that are none are left out. */
export function fieldsOf(raw: unknown, warn: Warn = () => {}): FormField[] {
  return entriesIn(raw, { ...FIELDS, warn }, (entry) => ({
    id: member(entry, 'id', named),
    ...given(entry, ['label'], text),
    type: member(entry, 'type', typeOf),
    ...given(entry, ['default'], json),
    ...given(entry, ['help_text', 'description', 'placeholder', 'input_type'], text),
    ...given(entry, ['min', 'max', 'step'], float),
    ...given(entry, ['value'], text),
    ...given(entry, ['options'], optionsOf),
  }));
}

/** Buttons: those that are none are left out. */
export function actionsOf(raw: unknown, warn: Warn = () => {}): Action[] {
  return entriesIn(raw, { ...ACTIONS, warn }, (entry) => ({
    id: member(entry, 'id', named),
    label: member(entry, 'label', spoken),
    ...given(entry, ['description'], text),
    ...given(entry, ['confirm'], json),
    ...given(entry, ['button_label', 'button_variant', 'button_color'], text),
    ...given(entry, ['events'], (value) => listOf(value, EVENTS_MOST, named)),
  }));
}

type Raw = Readonly<Record<string, unknown>>;

/** Why an entry is left out: one of its values, at `path`, is none of what it may be. No path: it is the entry itself. */
class Unfit extends Error {
  override readonly name = 'Unfit';
  readonly path: string;

  constructor(problem: string, path = '') {
    super(problem);
    this.path = path;
  }

  get sentence(): string {
    return this.path === '' ? `it ${this.message}` : `its ${this.path.replace(/^\./, '')} ${this.message}`;
  }
}

function entriesIn<T>(
  raw: unknown,
  { called, most, bytes, warn }: typeof FIELDS & { warn: Warn },
  read: (entry: Raw) => T,
): T[] {
  if (!Array.isArray(raw)) {
    if (raw !== undefined && raw !== null) warn(`${called} is left out: it is no list`);
    return [];
  }
  const entries: T[] = [];
  let room = bytes;
  for (const [index, one] of raw.slice(0, most).entries()) {
    const entry = attempt(
      () => read(mapping(one)),
      (why) => warn(`${called}[${index}]${nameIn(one)} is left out: ${why}`),
    );
    if (entry === null) continue;
    room -= Buffer.byteLength(JSON.stringify(entry));
    if (room < 0) {
      warn(`${called} is left out from [${index}] on: all of it may have ${bytes} bytes`);
      return entries;
    }
    entries.push(entry);
  }
  if (raw.length > most) warn(`${called} is left out from [${most}] on: it may have ${most} entries`);
  return entries;
}

function attempt<T>(read: () => T, failed: (why: string) => void): T | null {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Unfit)) throw error;
    failed(error.sentence);
    return null;
  }
}

/** What its author knows an entry by that is none. */
function nameIn(entry: unknown): string {
  const { id, label } = Object(entry) as { id?: unknown; label?: unknown };
  const name = [id, label].find((one) => typeof one === 'string' && one.trim() !== '');
  return name === undefined ? '' : ` (${JSON.stringify(stripped(name as string, NAME_SHOWN))})`;
}

const NAME_SHOWN = 60;

function mapping(value: unknown): Raw {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Unfit('is no object');
  return value as Raw;
}

function member<T>(entry: Raw, name: string, read: (value: unknown) => T): T {
  return at(`.${name}`, () => {
    if (!Object.hasOwn(entry, name)) throw new Unfit('is missing');
    return read(entry[name]);
  });
}

function at<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof Unfit ? new Unfit(error.message, path + error.path) : error;
  }
}

/** Those of the names that are there at all: null is a value, and none of theirs. */
function given<Name extends string, T>(
  entry: Raw,
  names: readonly Name[],
  read: (value: unknown) => T,
): { [name in Name]?: T } {
  const there = names.filter((name) => Object.hasOwn(entry, name));
  return Object.fromEntries(there.map((name) => [name, member(entry, name, read)])) as { [name in Name]?: T };
}

// ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A number is as good as what it is written as; true and false are not. */
function text(value: unknown): string {
  if (typeof value !== 'string' && typeof value !== 'number') throw new Unfit('is no text');
  return short(String(value), TEXT_LETTERS).trim();
}

function spoken(value: unknown): string {
  const all = text(value);
  if (all === '') throw new Unfit('is empty');
  return all;
}

/** What others call it by is not cut: it would be another name. */
function named(value: unknown): string {
  const all = spoken(value);
  if (all.length > ID_LETTERS) throw new Unfit(`is longer than ${ID_LETTERS} letters`);
  return all;
}

function typeOf(value: unknown): FormField['type'] {
  const type = FIELD_TYPES.find((one) => one === value);
  if (type === undefined) throw new Unfit(`is none of ${FIELD_TYPES.join(', ')}`);
  return type;
}

/** What Python's float() takes, as far as JSON can say it. */
function float(value: unknown): number {
  if (typeof value === 'boolean') return Number(value);
  const short = typeof value === 'string' && value.length <= NUMBER_LETTERS ? value : '';
  const plain = short.trim().replace(/(?<=\d)_(?=\d)/g, '');
  const number = DECIMAL.test(plain) ? Number(plain) : value;
  if (typeof number !== 'number' || !Number.isFinite(number)) throw new Unfit('is no number');
  return number;
}

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

function optionsOf(value: unknown): { value: string; label: string }[] {
  return listOf(value, OPTIONS_MOST, (one) => {
    const option = mapping(one);
    return { value: member(option, 'value', spoken), label: member(option, 'label', spoken) };
  });
}

function listOf<T>(value: unknown, most: number, read: (one: unknown) => T): T[] {
  if (!Array.isArray(value)) throw new Unfit('is no list');
  if (value.length > most) throw new Unfit(`is longer than ${most} entries`);
  return value.map((one, index) => at(`[${index}]`, () => read(one)));
}

function json(value: unknown): unknown {
  if (value === null || value === undefined) throw new Unfit('is null');
  return bounded(value, 0, { ...JSON_MOST });
}

/** A copy of it that any database takes. */
function bounded(value: unknown, depth: number, left: typeof JSON_MOST): unknown {
  left.values -= 1;
  if (left.values < 0 || depth > JSON_DEPTH) throw new Unfit('is too large');
  if (typeof value === 'string') return storable(within(value, left));
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((one) => bounded(one, depth + 1, left));
  return Object.fromEntries(
    Object.entries(value).map(([key, under]) => [storable(within(key, left)), bounded(under, depth + 1, left)]),
  );
}

function within(all: string, left: typeof JSON_MOST): string {
  left.letters -= all.length;
  if (left.letters < 0) throw new Unfit('is too large');
  return all;
}

function words(value: unknown, most: number): string {
  return typeof value === 'string' ? short(value, most) : '';
}

function short(all: string, most: number): string {
  return storable(all.length > most ? cut(all, most - 1) : all);
}

/** Without what jsonb refuses: NUL, and halves of characters. */
function storable(all: string): string {
  return all.replaceAll('\0', '').toWellFormed();
}
