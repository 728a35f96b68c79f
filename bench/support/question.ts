/** What a question is. Each has a file of its own in `questions/`. */
import type { Databases } from './databases.ts';

export type Sample = { value: number; note?: string; ok: boolean };

/** Something under test that is started, and can be measured for a while again and again. */
export type Subject = AsyncDisposable & { measure(seconds: number): Promise<Sample> };

/** `times` the value of another question, at least; or at most so much, in the row's own unit. */
export type Target = { of: string; atLeast: number } | { atMost: number };

type Common = { name: string; title: string; unit: string; targets?: Target[] };

/** Measured in turns with the others of its kind, so that a noisy machine is noisy for all of them. */
export type RateQuestion = Common & { kind: 'rate'; open(options: Options): Promise<Subject> };

/** Measured once, on its own. Its rows may be further ones, named after it. */
export type OnceQuestion = Common & { kind: 'once'; run(options: Options): Promise<OnceRow[]> };

export type OnceRow = { title?: string; unit?: string; value: number; note?: string; ok: boolean; targets?: Target[] };

export type Question = RateQuestion | OnceQuestion;

export type Options = {
  quick: boolean;
  /** A scratch folder of this run. */
  folder: string;
  /** New databases on a private PostgreSQL of the bench, which all questions share. */
  databases: Databases;
  /** Where front ends write a CPU profile when they end. */
  cpuProf: string | undefined;
};

export type Row = {
  name: string;
  title: string;
  unit: string;
  value: number;
  /** Against the value of other rows of this run, by name. */
  ratios: Record<string, number>;
  targets: { text: string; met: boolean | null }[];
  note: string;
  ok: boolean;
};

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? at(sorted, middle) : (at(sorted, middle - 1) + at(sorted, middle)) / 2;
}

export function at(values: readonly number[], index: number): number {
  return values[index] ?? Number.NaN;
}
