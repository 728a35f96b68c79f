import { readFileSync } from 'node:fs';
import ivm from 'isolated-vm';
import type { LoadHead } from '../wire.ts';

/** A plugin's program as an executor knows it. */
export type Program = { number: number; source: string; cachedData: Buffer | undefined; head: LoadHead };

/** Our own scripts, which run inside isolates. Read once, compiled once for each isolate. */
export type GuestScripts = { prelude: string; frozen: string; keeper: string };

export function readGuestScripts(): GuestScripts {
  const read = (name: string) => readFileSync(new URL(name, import.meta.url), 'utf8');
  return { prelude: read('./prelude.js'), frozen: read('./frozen.js'), keeper: read('./keeper.js') };
}

/** Told when V8 itself gives up on an isolate; its thread never comes back. */
export type OnCatastrophe = (message: string) => void;

/**
 * An isolate that belongs to one program, with the program's script compiled. Contexts are made ahead where there is
 * time for it. Disposing it ends whatever runs inside.
 */
export class ProgramIsolate {
  readonly program: Program;
  readonly isolate: ivm.Isolate;
  readonly heapMb: number;
  /** Compiled code, where this isolate had to compile from scratch. */
  readonly cachedData: Buffer | undefined;
  readonly script: ivm.Script;
  readonly #prelude: ivm.Script;
  readonly #scripts: GuestScripts;
  readonly #ready: PreparedContext[] = [];
  #keeper: ivm.Reference | undefined;

  /** Throws the SyntaxError of a program that does not compile. */
  constructor(program: Program, heapMb: number, scripts: GuestScripts, onCatastrophe?: OnCatastrophe) {
    this.program = program;
    this.heapMb = heapMb;
    this.#scripts = scripts;
    this.isolate = new ivm.Isolate({
      memoryLimit: heapMb,
      ...(onCatastrophe === undefined ? {} : { onCatastrophicError: onCatastrophe }),
    });
    try {
      this.#prelude = this.isolate.compileScriptSync(scripts.prelude, { filename: 'isopod:prelude' });
      const cached = program.cachedData === undefined ? undefined : new ivm.ExternalCopy(program.cachedData.buffer);
      this.script = this.isolate.compileScriptSync(strict(program.source), {
        filename: program.head.filename,
        columnOffset: -STRICT.length,
        ...(cached === undefined
          ? { produceCachedData: true }
          : { cachedData: cached as ivm.ExternalCopy<ArrayBuffer> }),
      });
      const made = (this.script as { cachedData?: ivm.ExternalCopy<ArrayBuffer> }).cachedData;
      this.cachedData = made === undefined ? undefined : Buffer.from(made.copy());
      made?.release();
      cached?.release();
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  get disposed(): boolean {
    return this.isolate.isDisposed;
  }

  get spareContexts(): number {
    return this.#ready.length;
  }

  /** Makes a context ahead. */
  prepare(): void {
    this.#ready.push(this.#context());
  }

  takeContext(): PreparedContext {
    return this.#ready.pop() ?? this.#context();
  }

  /** The function that runs a script and catches what it throws; see keeper.js. */
  get keeper(): ivm.Reference {
    if (this.#keeper === undefined) {
      const script = this.isolate.compileScriptSync(this.#scripts.keeper, { filename: 'isopod:keeper' });
      this.#keeper = script.runSync(this.isolate.createContextSync(), { reference: true });
    }
    return this.#keeper;
  }

  /** A function that runs the program once in a frozen realm; see frozen.js. Takes about 10 ms to make. */
  freeze(limits: string): ivm.Reference {
    const { context, prelude } = this.#context();
    const frozen = this.isolate.compileScriptSync(this.#scripts.frozen, { filename: 'isopod:frozen' });
    const enter = frozen.runSync(context, { reference: true });
    const make = enter.applySync(undefined, [prelude.derefInto()], { result: { reference: true } }) as ivm.Reference;
    return make.applySync(undefined, [this.program.source, limits], { result: { reference: true } }) as ivm.Reference;
  }

  dispose(): void {
    // An isolate that ended itself, by its memory limit, is disposed already.
    if (!this.isolate.isDisposed) this.isolate.dispose();
  }

  #context(): PreparedContext {
    const context = this.isolate.createContextSync();
    return new PreparedContext(context, this.#prelude.runSync(context, { reference: true }));
  }
}

/** A context with the prelude in it and nothing of a plugin yet. */
export class PreparedContext {
  readonly context: ivm.Context;
  readonly prelude: ivm.Reference;

  constructor(context: ivm.Context, prelude: ivm.Reference) {
    this.context = context;
    this.prelude = prelude;
  }

  /** Handles keep contexts alive until they are collected, which is too late for us. */
  release(): void {
    this.prelude.release();
    this.context.release();
  }
}

/** Heap and buffers of an isolate that is not busy, in KB. Sizes that make no sense are engine bugs: bounded. */
export function memoryKb(isolate: ivm.Isolate): number {
  const { used_heap_size, externally_allocated_size } = isolate.getHeapStatisticsSync();
  return Math.min(
    0xffffffff,
    Math.max(0, Math.round((used_heap_size + Math.max(0, externally_allocated_size)) / 1024)),
  );
}

// On the first line, so that all line numbers stay true; the column offset makes the first line's columns true too.
const STRICT = '"use strict";';

function strict(source: string): string {
  return STRICT + source;
}
