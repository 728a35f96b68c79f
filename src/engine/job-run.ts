import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../core/failure.ts';
import type { Claimed, JobEvent, Settlement } from '../core/job.ts';
import type { LogLine, Watch } from '../core/outcome.ts';
import type { Invoker, Running, Settled } from './invoker.ts';
import { settlementOf, TAKEN_OVER } from './job-end.ts';

/** Where a run tells what happens to it; see store/jobs/desk.ts. */
export interface JobDesk {
  settle(settlement: Settlement): Promise<boolean>;
  tell(claimed: Claimed, events: readonly JobEvent[], progress: number | null): Promise<number | null>;
}

/** What a plugin says is brought together for so long. */
const TELL_MS = 150;
/** Lines of one event. */
const LINES_EACH = 100;
const AGAIN_MS = 250;
const AGAIN_MS_MOST = 5_000;

/** One run of a job, from its claim to its settling. */
export class JobRun implements Watch {
  readonly claimed: Claimed;
  readonly #desk: JobDesk;
  readonly #running: Running;
  #lines: LogLine[] = [];
  #linesTold = 0;
  #progress: number | null = null;
  /** Whose business its end is, and whether somebody has asked for it. */
  #fate: 'ours' | 'cancelled' | 'left' = 'ours';
  #opened = false;
  #timer: NodeJS.Timeout | undefined;
  #telling: Promise<void> = Promise.resolve();

  constructor(claimed: Claimed, invoker: Invoker, desk: JobDesk) {
    this.claimed = claimed;
    this.#desk = desk;
    const { tenant, id, request } = claimed;
    const { plugin, task, hook, own, chain, args, limits, traceparent } = request;
    this.#running = invoker.invoke({
      tenant,
      plugin,
      args,
      ...(task === null ? {} : { task }),
      ...(hook === undefined ? {} : { hook }),
      ...(own === undefined ? {} : { own }),
      ...(chain === undefined ? {} : { chain }),
      ...(limits === undefined ? {} : { limits }),
      ...(traceparent === undefined ? {} : { traceparent }),
      job: id,
      watch: this,
    });
    // Whoever looks on is told that it runs, unless it is over by then.
    this.#soon();
  }

  logged(lines: readonly LogLine[]): void {
    this.#lines.push(...lines);
    this.#soon();
  }

  progressed(progress: number): void {
    this.#progress = progress;
    this.#soon();
  }

  cancel(): void {
    if (this.#fate === 'ours') this.#fate = 'cancelled';
    this.#running.stop(new Failure('cancelled', 'Somebody has cancelled the job'));
  }

  /** Resolves when the plugin has ended; what came of it has still to be written down. */
  get ended(): Promise<unknown> {
    return this.#running.settled;
  }

  /** It is another node's now. */
  leave(): void {
    this.#fate = 'left';
    this.#running.stop(TAKEN_OVER);
  }

  /**
   * Resolves when what came of it has been written down, with that; null where it is somebody else's business.
   * `abandon`: do not insist.
   */
  async settled(abandon: AbortSignal, complain: (error: unknown) => void): Promise<Settlement['result'] | null> {
    const settled = await this.#running.settled;
    clearTimeout(this.#timer);
    await this.#telling;
    if (this.#fate === 'left') return null;
    const cancelled = this.#fate === 'cancelled';
    let settlement = settlementOf(this.claimed, settled, this.#rest(settled), { now: Date.now(), cancelled });
    for (let wait = AGAIN_MS; ; wait = Math.min(wait * 2, AGAIN_MS_MOST)) {
      try {
        return (await this.#desk.settle(settlement)) ? settlement.result : null;
      } catch (error) {
        complain(error);
        // What cannot be written down at all is a bug of ours, and still has an end.
        if (Failure.from(error).code !== 'overloaded') settlement = unkept(settlement);
        // The database is away, say. The job is run again by somebody if we cannot wait for it to come back.
        await sleep(wait, undefined, { signal: abandon }).catch(() => {});
        if (abandon.aborted) return null;
      }
    }
  }

  #soon(): void {
    this.#timer ??= setTimeout(() => {
      this.#telling = this.#tell();
    }, TELL_MS);
  }

  async #tell(): Promise<void> {
    const lines = this.#lines.splice(0);
    const progress = this.#progress;
    this.#progress = null;
    this.#linesTold += lines.length;
    const events = [...this.#opening(), ...eventsOf(lines, progress)];
    try {
      if (events.length > 0 && (await this.#desk.tell(this.claimed, events, progress)) === null) this.leave();
    } catch {
      // They are told with the next ones.
      this.#lines.unshift(...lines);
      this.#linesTold -= lines.length;
      this.#progress ??= progress;
      this.#opened = false;
    }
    this.#timer = undefined;
    if (this.#lines.length > 0 || this.#progress !== null) this.#soon();
  }

  /** What has not been told when it is over. A short run that says nothing costs no event. */
  #rest({ outcome }: Settled): JobEvent[] {
    const lines = outcome.logs.slice(this.#linesTold);
    const progress = this.#progress ?? (this.#opened ? null : outcome.progress);
    const events = eventsOf(lines, progress);
    return events.length === 0 ? events : [...this.#opening(), ...events];
  }

  #opening(): JobEvent[] {
    if (this.#opened) return [];
    this.#opened = true;
    return [{ kind: 'started', attempt: this.claimed.attempt }];
  }
}

function unkept(settlement: Settlement): Settlement {
  const failure = new Failure('internal', 'What came of it could not be kept');
  return { ...settlement, events: [], history: [], result: { state: 'failed', output: null, failure, report: null } };
}

function eventsOf(lines: readonly LogLine[], progress: number | null): JobEvent[] {
  const events: JobEvent[] = [];
  for (let at = 0; at < lines.length; at += LINES_EACH) {
    events.push({ kind: 'log', lines: lines.slice(at, at + LINES_EACH) });
  }
  if (progress !== null) events.push({ kind: 'progress', progress });
  return events;
}
