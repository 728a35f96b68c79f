import ivm from 'isolated-vm';
import { type GuestScripts, memoryKb, type Program, ProgramIsolate } from './program.ts';

/** How a brief run ended. Only success is an end: all else is told to the host, which runs it in the long way. */
export type BriefEnd =
  | { ok: true; head: string; output: string; cpuUs: number; memoryKb: number }
  | { ok: false; why: string };

/**
 * Runs of a few milliseconds on the executor's main thread: no thread is woken, no promise is made. A program earns
 * this way by having been quick and without host calls before. No run here can have an effect outside its isolate,
 * so that any of them can be dropped and done again.
 *
 * Each program has at most one isolate here. When there are too many, one of those that were not used for longest is
 * dropped, whichever: of programs that are run in turn, as the hooks of an event are, the least recently used one is
 * always the next.
 */
export class BriefLane {
  readonly #scripts: GuestScripts;
  readonly #most: number;
  readonly #isolates = new Map<number, BriefIsolate>();
  #last: BriefIsolate | undefined;

  constructor(scripts: GuestScripts, mostIsolates: number) {
    this.#scripts = scripts;
    this.#most = mostIsolates;
  }

  run(program: Program, frozen: boolean, input: string): BriefEnd {
    let isolate: BriefIsolate;
    try {
      isolate = this.#isolateOf(program);
    } catch (error) {
      return { ok: false, why: `boot: ${String(error)}` };
    }
    const end = isolate.run(frozen, input);
    if (isolate.spent) this.drop(program.number);
    return end;
  }

  drop(program: number): void {
    this.#isolates.get(program)?.dispose();
    this.#isolates.delete(program);
    if (this.#last?.number === program) this.#last = undefined;
  }

  /** Makes contexts ahead for programs that use them; true if there is more to make. */
  prepare(): boolean {
    for (const isolate of this.#isolates.values()) if (isolate.prepare()) return true;
    return false;
  }

  #dropOne(): void {
    let passed = Math.floor((Math.random() * this.#isolates.size) / 2);
    for (const [one] of this.#isolates) {
      if (passed-- > 0) continue;
      this.drop(one);
      return;
    }
  }

  #isolateOf(program: Program): BriefIsolate {
    if (this.#last?.number === program.number) return this.#last;
    let isolate = this.#isolates.get(program.number);
    if (isolate === undefined) {
      isolate = new BriefIsolate(program, this.#scripts);
      if (this.#isolates.size >= this.#most) this.#dropOne();
    } else {
      this.#isolates.delete(program.number);
    }
    this.#isolates.set(program.number, isolate);
    this.#last = isolate;
    return isolate;
  }
}

/** Contexts kept ready for a program that takes fresh ones. */
const CONTEXTS_AHEAD = 4;
/** A heap reading costs as much as a quick run: one run in so many pays for it. */
const READ_HEAP_EVERY = 16;

class BriefIsolate {
  readonly number: number;
  readonly #isolate: ProgramIsolate;
  readonly #limits: string;
  readonly #outputBytes: number;
  readonly #sliceMs: { timeout: number };
  #frozen: ivm.Reference | undefined;
  #inside: ((work: () => void) => void) | undefined;
  #wantsContexts = false;
  #runs = 0;
  #memoryKb = 0;

  constructor(program: Program, scripts: GuestScripts) {
    const { heapMb, logBytes, logLines, outputBytes, sliceMs } = program.head;
    this.number = program.number;
    this.#isolate = new ProgramIsolate(program, heapMb, scripts);
    this.#limits = JSON.stringify({ logBytes, logLines });
    this.#outputBytes = outputBytes;
    this.#sliceMs = { timeout: sliceMs };
  }

  /** Something was left in it that another run could meet, or it is gone. */
  get spent(): boolean {
    return this.#isolate.disposed;
  }

  run(frozen: boolean, input: string): BriefEnd {
    const { isolate } = this.#isolate;
    const cpuBefore = isolate.cpuTime;
    let answer: string;
    try {
      answer = frozen ? this.#runFrozen(input) : this.#runFresh(input);
    } catch (error) {
      const why = String(error instanceof Error ? error.message : error);
      // After a timeout there may be half-done work in the isolate. Nobody shall meet it.
      this.dispose();
      return { ok: false, why: why.includes('timed out') ? 'slow' : why.includes('memory limit') ? 'memory' : 'threw' };
    }
    const cpuUs = Number(isolate.cpuTime - cpuBefore) / 1000;
    if (this.#runs++ % READ_HEAP_EVERY === 0) {
      this.#memoryKb = memoryKb(isolate);
    }
    const tag = answer.charCodeAt(0);
    const feed = answer.indexOf('\n');
    const rest = answer.slice(feed + 1);
    if (tag !== OK) return { ok: false, why: tag === UNFIT ? rest : 'failed' };
    if (
      rest.length > this.#outputBytes ||
      (rest.length * 3 > this.#outputBytes && Buffer.byteLength(rest) > this.#outputBytes)
    ) {
      return { ok: false, why: 'output' };
    }
    return { ok: true, head: answer.slice(1, feed), output: rest, cpuUs, memoryKb: this.#memoryKb };
  }

  /** Makes one context ahead; true if more are wanted. */
  prepare(): boolean {
    if (!this.#wantsContexts || this.#isolate.disposed) return false;
    if (this.#isolate.spareContexts < CONTEXTS_AHEAD) this.#isolate.prepare();
    return this.#isolate.spareContexts < CONTEXTS_AHEAD;
  }

  dispose(): void {
    this.#isolate.dispose();
  }

  #runFrozen(input: string): string {
    this.#frozen ??= this.#isolate.freeze(this.#limits);
    return this.#frozen.applySync(undefined, [input], this.#sliceMs) as string;
  }

  #runFresh(input: string): string {
    this.#wantsContexts = true;
    this.#inside ??= entrance(this.#isolate.isolate, this.#sliceMs);
    const prepared = this.#isolate.takeContext();
    const { context, prelude } = prepared;
    let answer = '';
    try {
      prelude.applySync(undefined, ['start', input, this.#limits]);
      this.#inside(() => {
        const value = this.#isolate.script.runSync(context, { reference: true, ...this.#sliceMs });
        answer = prelude.applySync(undefined, ['finish', value.derefInto()], this.#sliceMs) as string;
        value.release();
      });
      // Promises come here only under made-up names. By now their reactions have run.
      const late = prelude.applySync(undefined, ['late']) as string;
      return late === '' ? answer : `u\n${late}`;
    } finally {
      if (!this.#isolate.disposed) prepared.release();
    }
  }
}

/**
 * A way to do several things in one stay in an isolate. Promise reactions run when the isolate is left, and inside the
 * time limit of the stay: so a script and the making of its answer have none in between, as on the long lane. The only
 * function on the stack below the plugin's is one of the engine's, which no stack trace shows.
 */
function entrance(isolate: ivm.Isolate, limit: { timeout: number }): (work: () => void) => void {
  let work: (() => void) | undefined;
  const context = isolate.createContextSync();
  const callback = new ivm.Callback(() => work?.(), { sync: true });
  const enter = context.evalClosureSync('return $0', [callback], { result: { reference: true } }) as ivm.Reference;
  context.release();
  return (theWork) => {
    work = theWork;
    try {
      enter.applySync(undefined, [], limit);
    } finally {
      work = undefined;
    }
  };
}

const OK = 'o'.charCodeAt(0);
const UNFIT = 'u'.charCodeAt(0);
