/**
 * Looks whether manifests are signed, in a thread with a heap and a time of its own: keys and signatures are strangers'
 * words, which may take as long to check as whoever made them likes. The thread begins with the first manifest that has to
 * be signed, and ends when it has been idle for a while.
 */
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Piscina } from 'piscina';
import type { SignatureTask } from './signature-thread.ts';

const WALL_MS = 10_000;
const HEAP_MB = 128;
const IDLE_MS = 5_000;

// Of the same kind as this file: `.ts` in the repository, `.js` where it was compiled.
const THREAD = fileURLToPath(new URL(`./signature-thread${extname(import.meta.url)}`, import.meta.url));

export class Notary implements AsyncDisposable {
  #pool: Promise<Piscina> | null = null;
  /** One at a time: else one would wait behind another while its own clock runs. */
  #turn: Promise<unknown> = Promise.resolve();

  /** What is not signed with the key, or cannot be read, is not signed. */
  verify(task: SignatureTask): Promise<boolean> {
    const verdict = this.#turn.then(async () => {
      this.#pool ??= start();
      const pool = await this.#pool;
      // Ends the thread: there is no other way to stop a computation.
      return (await pool.run(task, { name: 'verify', signal: AbortSignal.timeout(WALL_MS) })) === true;
    });
    const certain = verdict.catch(() => false);
    this.#turn = certain;
    return certain;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const pool = await this.#pool;
    await pool?.destroy();
  }
}

async function start(): Promise<Piscina> {
  const { Piscina } = await import('piscina');
  const pool = new Piscina({
    filename: THREAD,
    name: 'verify',
    minThreads: 0,
    maxThreads: 1,
    idleTimeout: IDLE_MS,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB, maxYoungGenerationSizeMb: 16 },
    // Neither our secrets nor our flags.
    env: {},
    execArgv: [],
    recordTiming: false,
  });
  // A thread that dies between two manifests: the next one gets another.
  pool.on('error', () => {});
  return pool;
}
