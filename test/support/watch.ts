import { expect } from 'vitest';
import type { LogLine, Outcome, Watch } from '../../src/core/outcome.ts';

/** Remembers what it was told. */
export class Notes implements Watch {
  readonly logs: LogLine[] = [];
  readonly progress: number[] = [];
  /** How often it was told of lines. */
  times = 0;
  readonly #onLines: (messages: readonly string[]) => void;

  constructor(onLines: (messages: readonly string[]) => void = () => {}) {
    this.#onLines = onLines;
  }

  logged(lines: readonly LogLine[]): void {
    this.times += 1;
    this.logs.push(...lines);
    this.#onLines(this.logs.map(({ message }) => message));
  }

  progressed(progress: number): void {
    this.progress.push(progress);
  }

  /** All that is in the report was told, nothing else, and nothing twice. */
  expectReport({ logs, progress }: Outcome): void {
    expect(this.logs).toEqual(logs);
    expect(this.progress.at(-1) ?? null).toBe(progress);
  }
}
