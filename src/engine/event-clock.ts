import type { DueEvents } from '../store/due-events.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Tenancies } from './tenancies.ts';

export type EventClockOptions = {
  dueEvents: DueEvents;
  tenancies: Tenancies;
  dispatcher: Dispatcher;
  /** Told of what goes wrong while nobody waits for an answer. */
  complain(error: unknown): void;
};

const BEAT_MS = 1_000;
/** Tenants that are looked at in one go, and events of each: then it is somebody else's turn. */
const TENANTS_MOST = 50;
const EVENTS_MOST = 100;

/** Lets events go that were kept and are due. Each node does; an event that one of them has let go is not there any more. */
export class EventClock implements AsyncDisposable {
  readonly #options: EventClockOptions;
  #timer: NodeJS.Timeout | undefined;
  #beat: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: EventClockOptions) {
    this.#options = options;
    this.#next();
  }

  /** Lets no more go. */
  stop(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    await this.#beat;
  }

  #next(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#beat = this.#release().then(() => this.#next());
    }, BEAT_MS);
  }

  async #release(): Promise<void> {
    const { dueEvents, complain } = this.#options;
    const now = new Date();
    try {
      for (const tenant of await dueEvents.tenants(now, TENANTS_MOST)) {
        // What is wrong with those of one holds up no other.
        await this.#releaseOf(tenant, now).catch(complain);
      }
    } catch (error) {
      complain(error);
    }
  }

  async #releaseOf(tenant: string, now: Date): Promise<void> {
    const { dueEvents, tenancies, dispatcher } = this.#options;
    for (let count = 0; count < EVENTS_MOST && !this.#closed; count += 1) {
      // Looked for each time: it may be let go of between two of them.
      const tenancy = await tenancies.find(tenant);
      if (tenancy === undefined) return;
      if (!(await dueEvents.release(tenant, now, (event) => dispatcher.led(tenancy, event)))) return;
    }
  }
}
