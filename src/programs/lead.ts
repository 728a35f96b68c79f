import type { Residency } from '../core/resident.ts';
import type { Session } from '../core/session.ts';
import type { ResidentProcess } from './resident-process.ts';

/**
 * The way of a program that stays to its application, and to what it was granted. What one session may use is for an hour:
 * what goes on for ever has no other end. A connection that is open then goes on for an hour more.
 */
export class Lead implements Disposable {
  readonly #residency: Residency;
  readonly #process: ResidentProcess;
  readonly #refused: (words: string) => void;
  #session: Session | null = null;
  /** The one that was led to before. */
  #before: Session | null = null;
  #renewing: NodeJS.Timeout | undefined;

  /** `refused` is told of each host that it was kept from. */
  constructor(residency: Residency, process: ResidentProcess, refused: (words: string) => void) {
    this.#residency = residency;
    this.#process = process;
    this.#refused = refused;
    this.#renew();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#renewing);
    this.#before?.end();
    this.#session?.end();
  }

  #renew(): void {
    const [before, last] = [this.#session, this.#before];
    this.#session = this.#residency.openSession((failure) => this.#process.kill(failure), this.#refused);
    this.#process.letting.lead({ session: this.#session });
    before?.handOver(this.#session);
    this.#before = before;
    last?.end();
    this.#renewing = setTimeout(() => this.#renew(), SESSION_MS).unref();
  }
}

const SESSION_MS = 3_600_000;
