import type { Refusal } from '../core/plugin.ts';

/** Line and column count from 1. */
export type Position = { line: number; column: number };

/** Why a manifest is refused, on its way up to the loader, which makes a Refusal of it. */
export class Refused extends Error {
  override readonly name = 'Refused';
  readonly at: Position | null;

  constructor(at: Position | null, reason: string) {
    super(reason);
    this.at = at;
  }

  toRefusal(file: string): Refusal {
    return { file, line: this.at?.line ?? null, column: this.at?.column ?? null, reason: this.message };
  }
}

/** A stranger's words inside a sentence of ours: in quotes, escaped, and not too many of them. */
export function quoted(text: string): string {
  return JSON.stringify(text.length <= 60 ? text : `${text.slice(0, 59)}…`);
}
