import { Failure, type Rung } from '../../src/core/failure.ts';
import type { Limits } from '../../src/core/limits.ts';
import type { RunJournal } from '../../src/programs/run-journal.ts';
import type { FrameOf } from './heard.ts';

export type RunOptions = { id: number; invocation: string; limits: Limits; journal: RunJournal };

/** How a run has come to an end. */
export type RunEnd =
  | { by: 'result'; result: FrameOf<'result'> }
  /** Its process has ended, or is about to, for this. */
  | { by: 'death'; failure: Failure }
  /** It goes on, and nobody waits for it. */
  | { by: 'leaving' };

/** One run that a resident has under way: what it may use, and what it has used. */
export class Run {
  readonly id: number;
  readonly invocation: string;
  readonly limits: Limits;
  readonly journal: RunJournal;
  /** When it is over, or nobody waits for it any more. */
  readonly told: Promise<RunEnd>;
  /** When it is over. */
  readonly ended: Promise<RunEnd>;
  readonly startedAt = performance.now();
  /** Aborted where it goes over a limit of its own. */
  readonly over = new AbortController();
  isOver = false;
  cpuMs = 0;
  peakBytes = 0;
  /** What of it had an effect, if it was asked to end. */
  rung: Rung = 'cooperative';
  readonly #end: (end: RunEnd) => void;
  readonly #leave: (end: RunEnd) => void;

  constructor({ id, invocation, limits, journal }: RunOptions) {
    this.id = id;
    this.invocation = invocation;
    this.limits = limits;
    this.journal = journal;
    const ended = Promise.withResolvers<RunEnd>();
    const left = Promise.withResolvers<RunEnd>();
    this.ended = ended.promise;
    this.told = Promise.race([ended.promise, left.promise]);
    this.#end = ended.resolve;
    this.#leave = left.resolve;
  }

  /** The first end counts. What a child wrote before the answer comes another way, and is read before it is over. */
  settle(end: RunEnd): void {
    if (this.isOver) return;
    this.isOver = true;
    if (end.by === 'result') setImmediate(this.#end, end);
    else this.#end(end);
  }

  leave(): void {
    this.#leave({ by: 'leaving' });
  }

  /** Its part of the processor time and of the memory that its process was seen to use. */
  used(cpuMs: number, bytes: number): void {
    this.cpuMs += cpuMs;
    this.peakBytes = Math.max(this.peakBytes, bytes);
    const { cpuMs: allowed } = this.limits;
    if (this.cpuMs <= allowed) return;
    const limit = { name: 'cpuMs', allowed, observed: Math.round(this.cpuMs), unit: 'ms' } as const;
    this.over.abort(new Failure('plugin_cpu_exceeded', 'Used more processor time than it may', { limit }));
  }
}
