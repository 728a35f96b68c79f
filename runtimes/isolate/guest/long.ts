import ivm from 'isolated-vm';
import { type FailedHead, type FrameWriter, Kind, type LongHead } from '../wire.ts';
import { type GuestScripts, memoryKb, type PreparedContext, type Program, ProgramIsolate } from './program.ts';

/** Idle isolates kept, in all and for one program. */
const IDLE_MOST = 16;
const IDLE_MOST_EACH = 4;
/** One with a larger heap is ended after its run: whoever needs so much does not notice that the next one is new. */
const IDLE_KB_MOST = 16 * 1024;
/** The largest call of the application: query and variables together, in letters of JSON. */
const CALL_LETTERS_MOST = 8 * 1024 * 1024;
/** One that nobody has used for so long is ended. */
const IDLE_MS_MOST = 5_000;

/**
 * Runs that may take their time, call the application, or be hostile: each in an isolate and on a thread of its own,
 * so that the main thread stays free to stop it. Every verdict against a plugin is found here.
 */
export class LongLane {
  readonly #scripts: GuestScripts;
  readonly #out: Out;
  readonly #runs = new Map<number, LongRun>();
  /** Those that have waited longest come first. */
  readonly #idle: { isolate: ProgramIsolate; since: number }[] = [];

  constructor(scripts: GuestScripts, out: Out) {
    this.#scripts = scripts;
    this.#out = out;
  }

  start(id: number, program: Program, limits: LongHead, input: string): void {
    const run = new LongRun(id, limits, this.#out);
    this.#runs.set(id, run);
    void run
      .run(input, () => this.#lease(program, limits.heapMb))
      .then((isolate) => {
        this.#runs.delete(id);
        if (isolate !== undefined) this.#keep(isolate);
        this.#out.flush();
      });
  }

  stop(id: number): void {
    this.#runs.get(id)?.condemn({ code: 'stopped', message: 'stopped' });
  }

  answer(id: number, call: number, text: string): void {
    this.#runs.get(id)?.answer(call, text);
  }

  drop(program: number): void {
    this.#endIdle((isolate) => isolate.program.number === program);
  }

  /** Ends isolates that nobody seems to need any more. */
  tidy(): void {
    const before = performance.now() - IDLE_MS_MOST;
    this.#endIdle((_isolate, since) => since < before);
  }

  prepare(): boolean {
    for (const { isolate } of this.#idle) {
      if (isolate.spareContexts > 0) continue;
      isolate.prepare();
      return true;
    }
    return false;
  }

  #lease(program: Program, heapMb: number): ProgramIsolate {
    const at = this.#idle.findLastIndex(({ isolate }) => isolate.program === program && isolate.heapMb === heapMb);
    const [idle] = at < 0 ? [] : this.#idle.splice(at, 1);
    if (idle !== undefined) return idle.isolate;
    const made: ProgramIsolate = new ProgramIsolate(program, heapMb, this.#scripts, (message) =>
      this.#catastrophe(made, message),
    );
    if (made.cachedData !== undefined) {
      program.cachedData = made.cachedData;
      this.#out.writer.add(Kind.compiled, program.number, 0, 0, '', made.cachedData);
    }
    return made;
  }

  #keep(isolate: ProgramIsolate): void {
    const same = this.#idle.filter((one) => one.isolate.program === isolate.program).length;
    if (isolate.disposed || same >= IDLE_MOST_EACH || memoryKb(isolate.isolate) > IDLE_KB_MOST)
      return isolate.dispose();
    this.#idle.push({ isolate, since: performance.now() });
    if (this.#idle.length > IDLE_MOST) this.#idle.shift()?.isolate.dispose();
  }

  #endIdle(unwanted: (isolate: ProgramIsolate, since: number) => boolean): void {
    for (const one of [...this.#idle]) {
      if (!unwanted(one.isolate, one.since)) continue;
      this.#idle.splice(this.#idle.indexOf(one), 1);
      one.isolate.dispose();
    }
  }

  /** V8 ran out of something it cannot do without. That thread is lost, and so is this process: the host ends it. */
  #catastrophe(isolate: ProgramIsolate, message: string): void {
    for (const run of this.#runs.values()) if (run.isolate === isolate) run.catastrophe(message);
    this.#out.flush();
  }
}

/** Where frames go, and a way to send them off now. */
export type Out = { writer: FrameWriter; flush(): void };

class LongRun {
  isolate: ProgramIsolate | undefined;
  readonly #id: number;
  readonly #limits: LongHead;
  readonly #out: Out;
  readonly #calls = new Map<number, (text: string) => void>();
  readonly #sleeps = new Set<NodeJS.Timeout>();
  #callCount = 0;
  #cpuBefore = 0n;
  #cpuTimer: NodeJS.Timeout | undefined;
  /** Why this run is being ended; the first reason stays. */
  #sentence: FailedHead | undefined;

  constructor(id: number, limits: LongHead, out: Out) {
    this.#id = id;
    this.#limits = limits;
    this.#out = out;
  }

  /** Resolves with the isolate if another run may use it. Never rejects. */
  async run(input: string, lease: () => ProgramIsolate): Promise<ProgramIsolate | undefined> {
    const startedAt = performance.now();
    let isolate: ProgramIsolate;
    let prepared: PreparedContext;
    try {
      isolate = lease();
      this.isolate = isolate;
      prepared = isolate.takeContext();
    } catch (error) {
      this.isolate?.dispose();
      this.#fail(bootFailure(error), '');
      return undefined;
    }
    this.#out.writer.add(Kind.started, this.#id, Math.round((performance.now() - startedAt) * 1000), 0, '', '');
    this.#cpuBefore = isolate.isolate.cpuTime;
    this.#watchCpu(this.#limits.cpuMs);
    const host = new ivm.Reference((what: string, text: string) => this.#host(what, text));
    try {
      const answer = await this.#evaluate(isolate, prepared, host, input);
      return this.#sentence === undefined ? this.#settle(answer, isolate) : this.#condemned(isolate);
    } catch (error) {
      // Awaited here: what it asks must come before the handles are released.
      return await this.#broken(error, isolate, prepared, performance.now() - startedAt);
    } finally {
      clearTimeout(this.#cpuTimer);
      for (const sleep of this.#sleeps) clearTimeout(sleep);
      host.release();
      if (!isolate.disposed) prepared.release();
    }
  }

  answer(call: number, text: string): void {
    const resolve = this.#calls.get(call);
    this.#calls.delete(call);
    resolve?.(text);
  }

  /** Ends the run now. The host is told at once: if the isolate does not come back, it ends this process. */
  condemn(sentence: FailedHead): void {
    if (this.#sentence !== undefined) return;
    // The last reading there will be.
    this.#cpuUs();
    this.#sentence = sentence;
    if (sentence.code !== 'stopped') this.#tell(Kind.condemned, sentence, '');
    this.#out.flush();
    this.isolate?.dispose();
  }

  catastrophe(message: string): void {
    const { heapMb } = this.#limits;
    const sentence: FailedHead = message.includes('memory')
      ? {
          code: 'plugin_memory_exceeded',
          message: `V8 ran out of memory at a heap of ${heapMb} MB`,
          limit: heapIsFull(heapMb),
        }
      : { code: 'plugin_cpu_exceeded', message: 'The plugin could not be interrupted' };
    this.#sentence ??= sentence;
    this.#tell(Kind.condemned, this.#sentence, '');
  }

  async #evaluate(
    isolate: ProgramIsolate,
    { context, prelude }: PreparedContext,
    host: ivm.Reference,
    input: string,
  ): Promise<string> {
    const { logBytes, logLines, wallMs } = this.#limits;
    await prelude.apply(undefined, ['start', input, JSON.stringify({ logBytes, logLines }), host]);
    const args = [isolate.script, context, prelude.derefInto()];
    // The timer inside is a second opinion: it stands still while the plugin waits for the host.
    const answer = (await isolate.keeper.apply(undefined, args, { timeout: Math.max(1, wallMs) })) as string;
    // Promise reactions ran after the answer was made; what they logged is still inside.
    const rest = (await prelude.apply(undefined, ['rest'])) as string;
    if (rest !== '') this.#out.writer.add(Kind.logs, this.#id, 0, 0, rest, '');
    return answer;
  }

  #settle(answer: string, isolate: ProgramIsolate): ProgramIsolate {
    const feed = answer.indexOf('\n');
    const head = answer.slice(1, feed);
    const rest = answer.slice(feed + 1);
    const outputBytes = Buffer.byteLength(rest);
    switch (answer[0]) {
      case 'o':
      case 'e':
        if (outputBytes > this.#limits.outputBytes) {
          const limit = {
            name: 'outputBytes',
            allowed: this.#limits.outputBytes,
            observed: outputBytes,
            unit: 'bytes',
          } as const;
          const message = `The output has ${outputBytes} bytes`;
          this.#fail({ ...parsed(head), code: 'plugin_output_too_large', message, limit }, '');
        } else if (answer[0] === 'o') {
          this.#out.writer.add(Kind.done, this.#id, this.#cpuUs(), this.#memoryKb(), head, rest);
        } else {
          this.#fail({ ...parsed(head), code: 'plugin_error', message: 'The plugin returned an error' }, rest);
        }
        break;
      case 'x':
        this.#fail({ ...parsed(head), code: 'plugin_error', message: 'The plugin threw an error' }, '');
        break;
      case 'n':
        this.#fail(
          { ...parsed(head), code: 'plugin_invalid_output', message: `The output cannot be written as JSON: ${rest}` },
          '',
        );
        break;
      default:
        this.#fail({ code: 'internal', message: 'an answer of no known kind' }, '');
    }
    return isolate;
  }

  /** isolated-vm gave an error instead of an answer. */
  async #broken(
    error: unknown,
    isolate: ProgramIsolate,
    prepared: PreparedContext,
    ranMs: number,
  ): Promise<ProgramIsolate | undefined> {
    const message = String(error instanceof Error ? error.message : error);
    const { heapMb, wallMs } = this.#limits;
    if (this.#sentence !== undefined) return this.#condemned(isolate);
    // The words alone prove nothing: a plugin may reject a promise with the same.
    if (isolate.isolate.isDisposed && message.includes('memory limit')) {
      this.#fail(
        {
          code: 'plugin_memory_exceeded',
          message: `The plugin used more than ${heapMb} MB of heap`,
          limit: heapIsFull(heapMb),
          rung: 'interrupted',
        },
        '',
      );
    } else if (ranMs >= wallMs && message.includes('timed out')) {
      const limit = { name: 'wallMs', allowed: wallMs, observed: wallMs, unit: 'ms' } as const;
      this.#fail({ code: 'plugin_timeout', message: 'The plugin took too long', limit, rung: 'interrupted' }, '');
    } else if (!isolate.disposed) {
      return this.#settleAfterRejection(message, isolate, prepared);
    } else {
      this.#fail({ code: 'internal', message: `the isolate is gone: ${message}` }, '');
    }
    isolate.dispose();
    return undefined;
  }

  /**
   * A promise that nobody handled makes isolated-vm give its error instead of our answer. By contract such promises
   * are ignored, so the answer is fetched once more.
   */
  async #settleAfterRejection(
    message: string,
    isolate: ProgramIsolate,
    prepared: PreparedContext,
  ): Promise<ProgramIsolate | undefined> {
    try {
      const answer = await prepared.prelude.apply(undefined, ['answer']);
      const rest = (await prepared.prelude.apply(undefined, ['rest'])) as string;
      if (rest !== '') this.#out.writer.add(Kind.logs, this.#id, 0, 0, rest, '');
      if (typeof answer === 'string') this.#settle(answer, isolate);
      else this.#fail({ code: 'plugin_error', message: 'The plugin failed', error: { name: 'Error', message } }, '');
    } catch {
      this.#fail({ code: 'plugin_error', message: 'The plugin failed', error: { name: 'Error', message } }, '');
    }
    isolate.dispose();
    return undefined;
  }

  #condemned(isolate: ProgramIsolate): undefined {
    this.#fail({ ...(this.#sentence as FailedHead), rung: 'disposed' }, '');
    isolate.dispose();
  }

  /** Looks again when the rest of the budget could be used up. */
  #watchCpu(leftMs: number): void {
    this.#cpuTimer = setTimeout(() => {
      const usedMs = this.#cpuUs() / 1000;
      const { cpuMs } = this.#limits;
      if (usedMs < cpuMs) return this.#watchCpu(cpuMs - usedMs);
      const limit = { name: 'cpuMs', allowed: cpuMs, observed: Math.round(usedMs), unit: 'ms' } as const;
      this.condemn({
        code: 'plugin_cpu_exceeded',
        message: `The plugin used more than ${cpuMs} ms of processor time`,
        limit,
      });
    }, leftMs + 1);
  }

  #host(what: string, text: string): Promise<string> | undefined {
    // A run that is ended while it waits for us may catch that, and go on until it is back in its own code. Nobody
    // listens any more; were it to wait once more, it could not be ended but with the whole executor.
    if (this.#sentence !== undefined) return what === 'logs' ? undefined : Promise.resolve('0 the run is being ended');
    switch (what) {
      case 'logs':
        this.#out.writer.add(Kind.logs, this.#id, 0, 0, text, '');
        this.#out.flush();
        return undefined;
      case 'sleep':
        return new Promise((resolve) => {
          const sleep = setTimeout(
            () => {
              this.#sleeps.delete(sleep);
              resolve('');
            },
            Math.min(Number(text), 2 ** 31 - 1),
          );
          this.#sleeps.add(sleep);
        });
      default:
        return this.#call(text);
    }
  }

  #call(body: string): Promise<string> {
    this.#callCount += 1;
    const call = this.#callCount;
    const { hostCalls } = this.#limits;
    // Three bytes a letter at most: what passes this fits in a frame.
    if (body.length > CALL_LETTERS_MOST) {
      const limit = { name: 'hostCallLetters', allowed: CALL_LETTERS_MOST, observed: body.length } as const;
      return this.#tooMuch('The plugin called its application with too much', limit);
    }
    if (call > hostCalls) {
      const limit = { name: 'hostCalls', allowed: hostCalls, observed: call } as const;
      return this.#tooMuch(`The plugin called its application more than ${hostCalls} times`, limit);
    }
    return new Promise((resolve) => {
      this.#calls.set(call, resolve);
      this.#out.writer.add(Kind.call, this.#id, call, 0, '', body);
      this.#out.flush();
    });
  }

  /** Ends the run for what it asked; there is no answer to that. */
  #tooMuch(message: string, limit: { name: string; allowed: number; observed: number }): Promise<never> {
    this.condemn({ code: 'plugin_resource_exceeded', message, limit: { ...limit, unit: 'count' } });
    return new Promise(() => {});
  }

  #fail(head: FailedHead, output: string): void {
    this.#tell(Kind.failed, head, output);
  }

  #tell(kind: Kind, head: FailedHead, output: string): void {
    this.#out.writer.add(kind, this.#id, this.#cpuUs(), this.#memoryKb(), JSON.stringify(head), output);
  }

  #cpuUs(): number {
    const isolate = this.isolate?.isolate;
    if (isolate === undefined) return 0;
    // After a dispose the last reading stands.
    if (!isolate.isDisposed) this.#cpuLast = isolate.cpuTime;
    return Math.max(0, Math.round(Number(this.#cpuLast - this.#cpuBefore) / 1000));
  }
  #cpuLast = 0n;

  #memoryKb(): number {
    const isolate = this.isolate?.isolate;
    // Asking an isolate that is busy would wait for it.
    if (isolate === undefined || isolate.isDisposed || this.#sentence !== undefined) return 0;
    return memoryKb(isolate);
  }
}

/** V8 tells that the limit was reached, and not by how much. */
function heapIsFull(heapMb: number) {
  return { name: 'heapMb', allowed: heapMb * 2 ** 20, observed: heapMb * 2 ** 20, unit: 'bytes' } as const;
}

function parsed(head: string): Partial<FailedHead> {
  return head === '' ? {} : (JSON.parse(head) as Partial<FailedHead>);
}

/** The first line of the stack says where the syntax error is; what follows is ours. */
function bootFailure(error: unknown): FailedHead {
  const { name, message } = error instanceof Error ? error : { name: 'Error', message: String(error) };
  return { code: 'plugin_boot_failed', message: 'The script does not compile', error: { name, message } };
}
