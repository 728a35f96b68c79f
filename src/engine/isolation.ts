import { Failure } from '../core/failure.ts';
import { type Grade, type Isolation, type Layer, rankOf } from '../core/isolation.ts';
import type { Plugin } from '../core/plugin.ts';
import type { Runtime, RuntimeKind } from '../core/runtime.ts';

/** Whoever asks for a new proof within this time gets the last one: it costs a good part of a second of processor time. */
const AGAIN_MS = 10_000;

/**
 * A runtime with what was proven of its isolation last. It is asked with every invocation, so what is compared is a
 * number; it is set when something has been proven.
 */
export class Standing {
  readonly runtime: Runtime;
  rank = 0;
  grade: Grade = 'none';

  constructor(runtime: Runtime) {
    this.runtime = runtime;
    this.look();
  }

  get isolation(): Isolation {
    return this.runtime.isolation;
  }

  look(): void {
    this.grade = this.isolation.grade;
    this.rank = rankOf(this.grade);
  }

  /** Why nothing is run here for whoever wants more than holds. */
  refusal(wanted: Grade): Failure {
    const { grade } = this;
    const { layers, raise } = this.isolation;
    const missing = layers.filter((layer) => isMissing(layer, wanted)).map(({ name }) => name);
    const what = missing.length === 0 ? 'nothing was proven yet' : `missing: ${missing.join(', ')}`;
    const then = raise === null ? '' : `. ${raise}`;
    return new Failure(
      'sandbox_unavailable',
      `It would run at the isolation grade "${grade}" and "${wanted}" is the least: ${what}${then}`,
      { retryable: false },
    );
  }
}

function isMissing({ state, neededFrom }: Layer, wanted: Grade): boolean {
  return state === 'absent' && neededFrom !== null && rankOf(neededFrom) <= rankOf(wanted);
}

/** What holds programs back here, as it was proven, and the least that will do. Below it nothing is run. */
export class Isolations {
  /** For everybody; a tenant may want more. */
  readonly least: Grade;
  readonly #standings: readonly Standing[];
  #checking: Promise<void> | null = null;
  #checkedAt = Number.NEGATIVE_INFINITY;

  constructor({ runtimes, least }: { runtimes: readonly Runtime[]; least: Grade }) {
    this.least = least;
    this.#standings = runtimes.map((runtime) => new Standing(runtime));
  }

  /** What would run the plugin; undefined where nothing does. */
  of(plugin: Plugin): Standing | undefined {
    return this.#standings.find(({ runtime }) => runtime.runs(plugin));
  }

  /** By what is held back. */
  all(): [RuntimeKind, Isolation][] {
    return this.#standings.map(({ runtime, isolation }) => [runtime.kind, isolation]);
  }

  /** Proves them anew, or waits for whoever is at it. What was proven a moment ago counts. */
  check(): Promise<void> {
    if (performance.now() - this.#checkedAt < AGAIN_MS) return Promise.resolve();
    this.#checking ??= this.#check();
    return this.#checking;
  }

  /** Why nothing at all can be run; null where something can. */
  get trouble(): string | null {
    const least = rankOf(this.least);
    const [first] = this.#standings;
    if (first === undefined || this.#standings.some(({ rank }) => rank >= least)) return null;
    return first.refusal(this.least).message;
  }

  async #check(): Promise<void> {
    try {
      await Promise.all(this.#standings.map(({ runtime }) => runtime.attest()));
    } finally {
      for (const one of this.#standings) one.look();
      this.#checkedAt = performance.now();
      this.#checking = null;
    }
  }
}
