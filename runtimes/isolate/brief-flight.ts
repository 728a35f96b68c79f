import type { Executor, Flight, Loss } from './executor.ts';
import type { Program } from './program.ts';
import { type Frame, Kind } from './wire.ts';

/** A brief run either ended well, or it did not count and the reason says why. */
export type BriefLanding = BriefSuccess | { ok: false; why: string };

export type BriefSuccess = {
  ok: true;
  output: string;
  head: unknown;
  cpuMs: number;
  memoryBytes: number;
  outputBytes: number;
};

/** Answers that an executor may hold back, and the run that it is at; see FLUSH_FRAMES in guest/main.ts. */
const IN_HAND = 13;

/** One run on the brief lane. It has no clock and no verdict of its own: whatever is odd is left to the long lane. */
export class BriefFlight implements Flight {
  readonly #executor: Executor;
  readonly #costMs: number;
  readonly startedAt: number;
  readonly #land: (landing: BriefLanding) => void;
  #id = 0;

  private constructor(executor: Executor, costMs: number, startedAt: number, land: (landing: BriefLanding) => void) {
    this.startedAt = startedAt;
    this.#executor = executor;
    this.#costMs = costMs;
    this.#land = land;
  }

  /** `land` is called once, in a later turn. */
  static fly(
    executor: Executor,
    program: Program,
    input: string,
    startedAt: number,
    land: (landing: BriefLanding) => void,
  ): void {
    const flight = new BriefFlight(executor, program.costMs, startedAt, land);
    executor.load += flight.#costMs;
    flight.#id = executor.launch(flight, Kind.brief, program.number, program.way === 'frozen' ? 1 : 0, '', input);
  }

  onFrame({ kind, x, y, head, body }: Frame): void {
    this.#executor.load -= this.#costMs;
    this.#executor.land(this.#id);
    if (kind === Kind.done) {
      const output = body.toString('utf8');
      this.#land({ ok: true, output, head, cpuMs: x / 1000, memoryBytes: y * 1024, outputBytes: body.length });
    } else {
      this.#land({ ok: false, why: kind === Kind.unfit ? body.toString('utf8') : 'confused' });
    }
  }

  onLost({ before }: Loss): void {
    // They are run in turn, and answered a few at a time: whoever was far behind had not begun.
    this.#land({ ok: false, why: before < IN_HAND ? 'lost' : 'late' });
  }
}
