/**
 * Portraits as somebody has written them: a manifest, or a program that says what it is. Neither is believed. What comes
 * out can be kept as JSON by any database, and has a bound. Contract: Dispatcharr `PluginFieldSerializer` and
 * `PluginActionSerializer`, which drop an entry as soon as one of its values is none of what they take.
 */
import { type Action, FIELD_TYPES, type FormField, type Portrait } from './portrait.ts';
import { cut } from './text.ts';

/** Both lists together have 256 KB. */
const FIELDS = { most: 500, bytes: 192 * 1024 };
const ACTIONS = { most: 200, bytes: 64 * 1024 };
const ID_LETTERS = 200;
const TEXT_LETTERS = 16 * 1024;
const OPTIONS_MOST = 1_000;
const EVENTS_MOST = 100;
/** Of a default, or of what is asked before an action: lists and objects inside each other; values and letters in all. */
const JSON_DEPTH = 32;
const JSON_MOST = { values: 10_000, letters: 128 * 1024 };
/** Of a number that is written as text. */
const NUMBER_LETTERS = 1_000;

/** What is no text counts as not said, as in its host; so do lists that are none. */
export function portrayed(raw: Readonly<Record<string, unknown>>): Portrait {
  return {
    name: words(raw.name, NAME_LETTERS),
    version: words(raw.version, NAME_LETTERS),
    description: words(raw.description, TEXT_LETTERS),
    author: words(raw.author, NAME_LETTERS),
    helpUrl: words(raw.help_url, URL_LETTERS),
    fields: fieldsOf(raw.fields),
    actions: actionsOf(raw.actions),
  };
}

const NAME_LETTERS = 255;
const URL_LETTERS = 2_048;

/** The fields of a form: those that are none are left out. */
export function fieldsOf(raw: unknown): FormField[] {
  return entriesIn(raw, FIELDS, (entry) => ({
    id: named(entry.id),
    ...given(entry, ['label'], text),
    type: typeOf(entry.type),
    ...given(entry, ['default'], json),
    ...given(entry, ['help_text', 'description', 'placeholder', 'input_type'], text),
    ...given(entry, ['min', 'max', 'step'], float),
    ...given(entry, ['value'], text),
    ...given(entry, ['options'], optionsOf),
  }));
}

/** Buttons: those that are none are left out. */
export function actionsOf(raw: unknown): Action[] {
  return entriesIn(raw, ACTIONS, (entry) => ({
    id: named(entry.id),
    label: spoken(entry.label),
    ...given(entry, ['description'], text),
    ...given(entry, ['confirm'], json),
    ...given(entry, ['button_label', 'button_variant', 'button_color'], text),
    ...given(entry, ['events'], (value) => listOf(value, EVENTS_MOST, named)),
  }));
}

type Raw = Readonly<Record<string, unknown>>;

/** Why an entry is left out: one of its values is none of what it may be. */
class Unfit extends Error {
  override readonly name = 'Unfit';
}

function entriesIn<T>(raw: unknown, { most, bytes }: typeof FIELDS, read: (entry: Raw) => T): T[] {
  if (!Array.isArray(raw)) return [];
  const entries: T[] = [];
  let room = bytes;
  for (const one of raw.slice(0, most)) {
    const entry = attempt(() => read(mapping(one)));
    if (entry === null) continue;
    room -= Buffer.byteLength(JSON.stringify(entry));
    if (room < 0) break;
    entries.push(entry);
  }
  return entries;
}

function attempt<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof Unfit) return null;
    throw error;
  }
}

function mapping(value: unknown): Raw {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Unfit();
  return value as Raw;
}

/** Those of the names that are there at all: null is a value, and none of theirs. */
function given<Name extends string, T>(
  entry: Raw,
  names: readonly Name[],
  read: (value: unknown) => T,
): { [name in Name]?: T } {
  const there = names.filter((name) => Object.hasOwn(entry, name));
  return Object.fromEntries(there.map((name) => [name, read(entry[name])])) as { [name in Name]?: T };
}

// ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A number is as good as what it is written as; true and false are not. */
function text(value: unknown): string {
  if (typeof value !== 'string' && typeof value !== 'number') throw new Unfit();
  return short(String(value), TEXT_LETTERS).trim();
}

function spoken(value: unknown): string {
  const all = text(value);
  if (all === '') throw new Unfit();
  return all;
}

/** What others call it by is not cut: it would be another name. */
function named(value: unknown): string {
  const all = spoken(value);
  if (all.length > ID_LETTERS) throw new Unfit();
  return all;
}

function typeOf(value: unknown): FormField['type'] {
  const type = FIELD_TYPES.find((one) => one === value);
  if (type === undefined) throw new Unfit();
  return type;
}

/** What Python's float() takes, as far as JSON can say it. */
function float(value: unknown): number {
  if (typeof value === 'boolean') return Number(value);
  const short = typeof value === 'string' && value.length <= NUMBER_LETTERS ? value : '';
  const plain = short.trim().replace(/(?<=\d)_(?=\d)/g, '');
  const number = DECIMAL.test(plain) ? Number(plain) : value;
  if (typeof number !== 'number' || !Number.isFinite(number)) throw new Unfit();
  return number;
}

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

function optionsOf(value: unknown): { value: string; label: string }[] {
  return listOf(value, OPTIONS_MOST, (one) => {
    const option = mapping(one);
    return { value: spoken(option.value), label: spoken(option.label) };
  });
}

function listOf<T>(value: unknown, most: number, read: (one: unknown) => T): T[] {
  if (!Array.isArray(value) || value.length > most) throw new Unfit();
  return value.map(read);
}

function json(value: unknown): unknown {
  if (value === null || value === undefined) throw new Unfit();
  return bounded(value, 0, { ...JSON_MOST });
}

/** A copy of it that any database takes. */
function bounded(value: unknown, depth: number, left: typeof JSON_MOST): unknown {
  left.values -= 1;
  if (left.values < 0 || depth > JSON_DEPTH) throw new Unfit();
  if (typeof value === 'string') return storable(within(value, left));
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((one) => bounded(one, depth + 1, left));
  return Object.fromEntries(
    Object.entries(value).map(([key, under]) => [storable(within(key, left)), bounded(under, depth + 1, left)]),
  );
}

function within(all: string, left: typeof JSON_MOST): string {
  left.letters -= all.length;
  if (left.letters < 0) throw new Unfit();
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
