/**
 * Looks at what programs keep in their folders, in a thread of its own, and at one program's at a time: what a look costs
 * is up to whoever writes there. The larger part of the time belongs to nobody: after each look the thread rests for as
 * long as that took, and whose folders were looked at is left alone ten times as long. Whoever is about to start waits for no
 * rest.
 */
import { extname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Piscina } from 'piscina';
import type { Kept, KeptTask } from './kept.ts';

export type StocktakerOptions = {
  /** The least rest between two looks at the same folders. */
  everyMs?: number;
  /** Files and folders of one program, beyond which it does not matter how many there are. */
  most?: number;
};

/** The code that a plugin may bring along is 20,000 of them at the most; see folder-copy.ts. */
export const ENTRIES_MOST = 50_000;

// Of the same kind as this file: `.ts` in the repository, `.js` where it was compiled.
const THREAD = fileURLToPath(new URL(`./kept${extname(import.meta.url)}`, import.meta.url));

export class Stocktaker implements AsyncDisposable {
  readonly #options: Required<StocktakerOptions>;
  #pool: Promise<Piscina> | null = null;
  /** Of those that are looked at again and again there is one in the thread's queue at most. */
  #turn: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor({ everyMs = EVERY_MS, most = ENTRIES_MOST }: StocktakerOptions = {}) {
    this.#options = { everyMs, most };
  }

  /** At once, but for a look that is under way. */
  look(folders: readonly string[]): Promise<Kept> {
    return this.#run({ folders, most: this.#options.most });
  }

  /** Again and again, until it is disposed of. */
  watch(folders: readonly string[], told: (kept: Kept) => void): Disposable {
    const { everyMs } = this.#options;
    let isOver = false;
    let resting: NodeJS.Timeout;
    const look = async () => {
      // What cannot be done now is done the next time.
      const kept = await this.#inTurn(() => (isOver ? null : this.look(folders))).catch(() => null);
      if (isOver || this.#isClosed) return;
      if (kept !== null) told(kept);
      rest(Math.max(everyMs, REST * (kept?.tookMs ?? 0)));
    };
    const rest = (ms: number) => {
      resting = setTimeout(() => void look(), ms).unref();
    };
    rest(everyMs);
    const end = () => {
      isOver = true;
      clearTimeout(resting);
    };
    return { [Symbol.dispose]: end };
  }

  /** What is being looked at now rejects. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    const pool = await this.#pool;
    await pool?.destroy();
  }

  #inTurn(look: () => Promise<Kept> | null): Promise<Kept | null> {
    const kept = this.#turn.then(look);
    const rested = (one: Kept | null) => (one === null ? undefined : sleep(one.tookMs, undefined, { ref: false }));
    this.#turn = kept.then(rested).catch(() => {});
    return kept;
  }

  async #run(task: KeptTask): Promise<Kept> {
    if (this.#isClosed) throw new Error('Nobody is looked at any more');
    this.#pool ??= start();
    const pool = await this.#pool;
    return (await pool.run(task)) as Kept;
  }
}

async function start(): Promise<Piscina> {
  // Here, not above: it costs start-up time that is only due when there are programs that stay.
  const { Piscina } = await import('piscina');
  const pool = new Piscina({
    filename: THREAD,
    name: 'keptIn',
    minThreads: 0,
    maxThreads: 1,
    idleTimeout: IDLE_MS,
    resourceLimits: { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 16 },
    // Neither our secrets nor our flags.
    env: {},
    execArgv: [],
    recordTiming: false,
  });
  // A thread that dies between two looks: the next look gets another.
  pool.on('error', () => {});
  return pool;
}

const EVERY_MS = 3_000;
const REST = 10;
const IDLE_MS = 10_000;
