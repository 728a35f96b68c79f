import type { TSchema } from 'typebox';
import { Value } from 'typebox/value';
import type { SettingSchema } from './schema.ts';

/** Settings that cannot be used. The service does not start; each sentence names a place and what is allowed there. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly sentences: readonly string[];

  constructor(sentences: readonly string[]) {
    super(sentences.join('\n'));
    this.sentences = sentences;
  }
}

/** Says in words why `value` cannot stand there; null where it can. */
export function complaint(schema: SettingSchema, value: unknown): string | null {
  if (fits(schema, value)) return null;
  if (schema.items !== undefined && Array.isArray(value)) {
    const wrong = value.find((one) => schema.items !== undefined && !fits(schema.items, one));
    if (wrong !== undefined) return `must be a list, each ${allowed(schema.items)}${not(schema.items, wrong)}`;
  }
  return `must be ${allowed(schema)}${not(schema, value)}`;
}

function fits(schema: SettingSchema, value: unknown): boolean {
  return Value.Check(schema as TSchema, value);
}

function allowed(schema: SettingSchema): string {
  if (schema.allowed !== undefined) return schema.allowed;
  if (schema.enum !== undefined) return `one of ${schema.enum.join(', ')}`;
  if (schema.type === 'integer') return `a whole number from ${schema.minimum} to ${schema.maximum}`;
  if (schema.type === 'boolean') return 'true or false';
  if (schema.type === 'array') return 'a list';
  if (schema.type === 'object') return 'a map of settings';
  return 'a text that is not empty';
}

function not(schema: SettingSchema, value: unknown): string {
  if (schema.secret === true || schema.items?.secret === true) return '';
  return `, not ${JSON.stringify(value) ?? String(value)}`.slice(0, 200);
}

/** The end of a sentence about an unknown word: a question, where one of the `known` is close to it. */
export function suggestion(word: string, known: readonly string[]): string {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const one of known) {
    const far = distance(word.toLowerCase(), one.toLowerCase());
    if (far < least) [best, least] = [one, far];
  }
  return best === undefined ? '.' : `; did you mean ${best}?`;
}

/** How many letters to add, drop, change or swap with their neighbour to get from `a` to `b`. */
function distance(a: string, b: string): number {
  const far = Number.POSITIVE_INFINITY;
  if (a.length > 60) return far;
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const changed = (row[j - 1] ?? far) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? (before[j - 2] ?? far) + 1 : far;
      next.push(Math.min((next[j - 1] ?? far) + 1, (row[j] ?? far) + 1, changed, swapped));
    }
    [before, row] = [row, next];
  }
  return row[b.length] ?? far;
}
