/**
 * Reads strangers' manifests in a thread with a heap and a time of its own. The loaders have limits that refuse
 * every bomb we know of; the thread is for those that we do not know of. It costs the service one thread, never
 * its event loop or its memory.
 *
 * Manifests go there in batches, because a thousand messages cost more than a thousand manifests. When a batch
 * does not come back, each of its manifests is read alone, so that only the one to blame is refused. The thread
 * begins with the first manifest and ends when it has been idle for a while.
 */
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Piscina } from 'piscina';
import type { Verdict } from '../core/plugin.ts';
import type { ManifestDialect, ManifestSource } from './dialect.ts';

export type ReaderLimits = {
  /** Wall clock for a batch, the start of the thread included: enough for a busy machine. */
  wallMs: number;
  /** V8 heap of the thread. */
  heapMb: number;
  /** How long an idle thread is kept. */
  idleMs: number;
};

const DEFAULTS: ReaderLimits = { wallMs: 5_000, heapMb: 128, idleMs: 5_000 };
const BATCH_FILES = 100;
const BATCH_BYTES = 512 * 1024;

// Of the same kind as this file: `.ts` in the repository, `.js` where it was compiled.
const THREAD = fileURLToPath(new URL(`./thread${extname(import.meta.url)}`, import.meta.url));

export class ManifestReader implements AsyncDisposable {
  readonly #limits: ReaderLimits;
  #pool: Promise<Piscina> | null = null;
  #closed = false;
  /** One batch at a time: else one would wait behind another while its own clock runs. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(limits: Partial<ReaderLimits> = {}) {
    this.#limits = { ...DEFAULTS, ...limits };
  }

  /** One verdict for each source, in the same order. Does not reject for anything in them. */
  async read(dialect: ManifestDialect, sources: readonly ManifestSource[]): Promise<Verdict[]> {
    const verdicts: Verdict[] = [];
    for (const batch of batches(sources)) verdicts.push(...(await this.#readBatch(dialect, batch)));
    return verdicts;
  }

  /** What is being read now rejects. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const pool = await this.#pool;
    await pool?.destroy();
  }

  async #readBatch(dialect: ManifestDialect, batch: readonly ManifestSource[]): Promise<Verdict[]> {
    try {
      return await this.#run(dialect, batch);
    } catch (error) {
      if (this.#closed) throw error;
      const [only] = batch;
      if (only !== undefined && batch.length === 1) return [{ ok: false, refusal: this.#refusal(only, error) }];
      const verdicts: Verdict[] = [];
      for (const source of batch) verdicts.push(...(await this.#readBatch(dialect, [source])));
      return verdicts;
    }
  }

  #run(dialect: ManifestDialect, sources: readonly ManifestSource[]): Promise<Verdict[]> {
    const verdicts = this.#turn.then(async () => {
      if (this.#closed) throw new Error('The reader is closed');
      this.#pool ??= this.#start();
      const pool = await this.#pool;
      // Ends the thread: there is no other way to stop a parser.
      const signal = AbortSignal.timeout(this.#limits.wallMs);
      return (await pool.run({ module: dialect.module, sources }, { signal })) as Verdict[];
    });
    this.#turn = verdicts.catch(() => {});
    return verdicts;
  }

  async #start(): Promise<Piscina> {
    // Here, not above: it costs start-up time that is only due when there are plugins.
    const { Piscina } = await import('piscina');
    const pool = new Piscina({
      filename: THREAD,
      name: 'load',
      minThreads: 0,
      maxThreads: 1,
      idleTimeout: this.#limits.idleMs,
      resourceLimits: { maxOldGenerationSizeMb: this.#limits.heapMb, maxYoungGenerationSizeMb: 16 },
      // Neither our secrets nor our flags.
      env: {},
      execArgv: [],
      recordTiming: false,
    });
    // A thread that dies between two batches: the next batch gets another.
    pool.on('error', () => {});
    return pool;
  }

  #refusal({ file }: ManifestSource, error: unknown) {
    const { wallMs, heapMb } = this.#limits;
    const { name, code } = error as { name?: string; code?: string };
    let reason = `our reader fails on this file (${String(code ?? name)}); please report it`;
    if (name === 'AbortError') reason = `the file takes longer than ${wallMs} ms to read`;
    if (code === 'ERR_WORKER_OUT_OF_MEMORY') reason = `the file takes more than ${heapMb} MB of memory to read`;
    return { file, line: null, column: null, reason };
  }
}

function* batches(sources: readonly ManifestSource[]): Generator<ManifestSource[]> {
  let batch: ManifestSource[] = [];
  let bytes = 0;
  for (const source of sources) {
    const more = source.bytes.length + (source.permissions?.length ?? 0);
    if (batch.length === BATCH_FILES || (batch.length > 0 && bytes + more > BATCH_BYTES)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(source);
    bytes += more;
  }
  if (batch.length > 0) yield batch;
}
