import { Failure } from '../core/failure.ts';
import type { Limits } from '../core/limits.ts';
import { Minute } from './minute.ts';
import { mostLoggedBytes, tooMuchLogged } from './over-limit.ts';

/** What one program that stays may say of its own accord, and what it may cost us to listen: everybody's time. */
export class Hearing {
  readonly #limits: Limits;
  readonly #tooMuch: (failure: Failure) => void;
  readonly #said = new Minute();
  /** Beyond what answers are worth. */
  readonly #reading = new Minute();

  constructor(limits: Limits, tooMuch: (failure: Failure) => void) {
    this.#limits = limits;
    this.#tooMuch = tooMuch;
  }

  /** Who writes that much does so for the sake of it, and to read it takes a good part of a core. */
  said(bytes: number): void {
    const said = this.#said.add(bytes);
    const most = mostLoggedBytes(this.#limits);
    if (said > most) this.#tooMuch(tooMuchLogged(most, said));
  }

  /** To read it has taken so long. */
  took(ms: number): void {
    const took = this.#reading.add(ms);
    if (took <= READING_MS) return;
    const limit = { name: 'reading', allowed: READING_MS, observed: Math.round(took), unit: 'ms' } as const;
    this.#tooMuch(new Failure('plugin_resource_exceeded', 'What it says takes too long to be read', { limit }));
  }

  /** That is what the time is for. */
  answered(): void {
    this.#reading.add(-READING_MS_EACH);
  }
}

/** Of a minute; and what each run that is answered adds to it. */
const READING_MS = 3_000;
const READING_MS_EACH = 50;
