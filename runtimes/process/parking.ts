import { freemem, totalmem } from 'node:os';
import type { Pipe } from '../../src/confinement/pipes.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import type { Letting, Occupant, Rooms } from '../../src/programs/rooms.ts';
import { comesToRead, Habits, stillReads } from './habits.ts';
import { stampOf } from './stamp.ts';

/**
 * Programs that were started before anybody called, each in its own room, and wait for their input. Whoever calls next
 * gets an answer without paying for the room, the relay and the interpreter. Each is used once, like any other.
 *
 * That is done for programs only of which it was seen that they read their input first, and with what does not change
 * from call to call: the command line, the environment, the grant. One that has become old, whose files have changed,
 * whose plugin is gone, or that does anything but wait is ended; and all of them, where memory is short.
 */
export class Parking implements AsyncDisposable {
  readonly #options: ParkingOptions;
  readonly #habits = new WeakMap<Plugin, Map<string, Habits>>();
  readonly #parked = new Set<Parked>();
  readonly #coming = new Set<Promise<void>>();
  /** Since when those of a tenant have to be started anew; of those that are coming. */
  readonly #dismissals = new Map<string, number>();
  #sweep: NodeJS.Timeout | null = null;
  #isClosed = false;

  constructor(options: ParkingOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#parked.size;
  }

  /**
   * What is known of the program; null where it is never parked. What it might read of granted files changes. Others than
   * Python either start somebody or threads before they read, or may open `/dev/stdin`, which wants a file.
   */
  habitsOf({ plugin, command, grant }: Pick<Occupant, 'plugin' | 'command' | 'grant'>): Habits | null {
    const isPython = command.isPython || command.path !== null;
    if (this.#options.most === 0 || grant.files.length > 0 || !isPython) return null;
    let ofPlugin = this.#habits.get(plugin);
    if (ofPlugin === undefined) {
      ofPlugin = new Map();
      this.#habits.set(plugin, ofPlugin);
    }
    const name = JSON.stringify([command.file, command.args]);
    const known = ofPlugin.get(name) ?? new Habits();
    ofPlugin.set(name, known);
    return known;
  }

  /** One that waits for this occupant, who has it to end from now on; null where there is none. */
  async take(occupant: Occupant, habits: Habits): Promise<Taken | null> {
    if (habits.habit !== 'reads first') return null;
    const stamp = await stampOf(occupant.plugin.realDir);
    if (stamp === null || stamp !== habits.stamp) {
      // Another program by now, of which nothing is known.
      Object.assign(habits, new Habits(), { stamp });
      this.#drop((one) => one.habits === habits);
      return null;
    }
    for (const one of this.#parked) {
      if (one.habits !== habits || !isFor(one, occupant)) continue;
      this.#parked.delete(one);
      if (stillReads(one.letting)) return one;
      void end(one);
    }
    return null;
  }

  /** Sees to it that one waits for the next call. Does not reject, and nobody has to wait for it. */
  prepare(occupant: Occupant, habits: Habits): void {
    if (this.#isClosed || habits.habit !== 'reads first' || this.#hasEnough(habits)) return;
    const coming = this.#park(occupant, habits)
      .catch(() => habits.broken())
      .finally(() => this.#coming.delete(coming));
    this.#coming.add(coming);
    this.#sweep ??= setInterval(() => this.#clear(), CLEAR_EVERY_MS).unref();
  }

  /** Ends those of a tenant whose plugins are none of these. */
  retain(tenant: string, plugins: ReadonlySet<Plugin>): void {
    this.#drop(({ occupant }) => occupant.tenant === tenant && !plugins.has(occupant.plugin));
  }

  /** Ends all of a tenant: what they were started with may not be so any more. */
  dismiss(tenant: string): void {
    this.#dismissals.set(tenant, performance.now());
    this.#drop(({ occupant }) => occupant.tenant === tenant);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    if (this.#sweep !== null) clearInterval(this.#sweep);
    await Promise.all(this.#coming);
    const all = [...this.#parked];
    this.#parked.clear();
    await Promise.all(all.map(end));
  }

  #hasEnough(habits: Habits): boolean {
    let own = this.#coming.size;
    for (const one of this.#parked) if (one.habits === habits) own += 1;
    if (own >= EACH_MOST || isShortOfMemory()) return true;
    if (this.#parked.size + this.#coming.size < this.#options.most) return false;
    // The one that nobody has called for longest makes room.
    const [oldest] = this.#parked;
    if (oldest === undefined || oldest.habits === habits) return true;
    this.#drop((one) => one === oldest);
    return false;
  }

  async #park(occupant: Occupant, habits: Habits): Promise<void> {
    const since = performance.now();
    const rooms = await this.#options.rooms();
    await using opened = new AsyncDisposableStack();
    const stamp = await stampOf(occupant.plugin.realDir);
    const stdin = opened.use(await rooms.pipes.openInput());
    const letting = opened.use(await rooms.let(occupant, stdin.fd));
    stdin.given();
    const { sandbox } = letting;
    await sandbox.ready;
    sandbox.go();
    if (!(await comesToRead(letting, BOOT_MS)) || stamp === null) return habits.broken();
    // Its files may have changed while it read them.
    if (stamp !== (await stampOf(occupant.plugin.realDir))) return;
    habits.stamp = stamp;
    if (this.#isClosed || (this.#dismissals.get(occupant.tenant) ?? 0) >= since) return;
    this.#parked.add({ occupant, habits, letting, stdin, since: performance.now(), scope: opened.move() });
  }

  #clear(): void {
    if (this.#coming.size === 0) this.#dismissals.clear();
    const since = performance.now() - AGE_MOST_MS;
    const isShort = isShortOfMemory();
    this.#drop((one) => isShort || one.since < since || !stillReads(one.letting));
  }

  #drop(isMeant: (one: Parked) => boolean): void {
    for (const one of this.#parked) {
      if (!isMeant(one)) continue;
      this.#parked.delete(one);
      void end(one);
    }
  }
}

export type ParkingOptions = {
  /** So many at most, of all plugins. */
  most: number;
  rooms(): Promise<Rooms>;
};

/** A program that waits, with what ends it. */
export type Taken = { letting: Letting; stdin: Pipe; scope: AsyncDisposable };

type Parked = Taken & { occupant: Occupant; habits: Habits; since: number };

function isFor({ occupant }: Parked, { tenant, plugin, grant, endpoint }: Occupant): boolean {
  return (
    occupant.tenant === tenant &&
    occupant.plugin === plugin &&
    occupant.grant === grant &&
    occupant.endpoint.port === endpoint.port
  );
}

async function end({ scope }: Parked): Promise<void> {
  try {
    await scope[Symbol.asyncDispose]();
  } catch {
    // It is ended all the same; what could not be cleared away was not there any more.
  }
}

function isShortOfMemory(): boolean {
  return freemem() < totalmem() / 16;
}

/** Of one program. */
const EACH_MOST = 2;
const AGE_MOST_MS = 10 * 60_000;
const CLEAR_EVERY_MS = 5_000;
const BOOT_MS = 3_000;
