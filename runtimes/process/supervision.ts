import { setImmediate as turn } from 'node:timers/promises';
import { type Ending, MOST_PROCESSES } from '../../src/confinement/launcher.ts';
import type { Sandbox } from '../../src/confinement/sandbox.ts';
import type { Tree } from '../../src/confinement/tree.ts';
import type { Failure, Rung } from '../../src/core/failure.ts';
import type { Limits } from '../../src/core/limits.ts';
import { onAbort } from '../../src/core/signal.ts';
import { Memory } from '../../src/programs/memory.ts';
import type { Meter } from '../../src/programs/meter.ts';
import {
  bootedTooSlowly,
  mostLoggedBytes,
  overLimit,
  refused,
  tooLarge,
  tooMuchLogged,
} from '../../src/programs/over-limit.ts';
import { closed, within } from '../../src/programs/settling.ts';
import type { Place } from '../../src/programs/turnstile.ts';
import type { Journal } from './journal.ts';
import type { Evidence, Verdict } from './verdict.ts';

export type Conversation = {
  limits: Limits;
  journal: Journal;
  meter: Meter;
  /** Told what it uses now. */
  place: Place;
  /** Aborted by us where the plugin goes over a limit. */
  stop: AbortController;
  /** Aborts on any cause, that one included. */
  stopped: AbortSignal;
};

/** What came of it, whatever was spoken. */
export type Told = {
  /** Whether it came to an end before it was stopped. If not, `stopped.reason` says the rest. */
  isSettled: boolean;
  /** What ended it, if it was stopped. */
  rung: Rung;
  ending: Ending | null;
  tree: Tree | null;
  memory: Memory;
  startedAt: number;
  /** What it amounts to, if it was not us who ended it. */
  judge(evidence: Evidence): Verdict;
};

/** A way to ask a program to end by itself; settles when there is nothing left to wait for. */
export type Asking = { ask(): Promise<unknown>; patienceMs: number };

/**
 * What each run of a program is held to, whatever is spoken with it: its log is kept to its limits, its time to start,
 * its processor time, memory and processes are watched, and when the run is stopped it ends. Leaving its scope ends
 * only the watching; the sandbox has a scope of its own.
 */
export class Supervision implements Disposable {
  readonly memory: Memory;
  /** Resolves when the run was stopped and its tree has been killed. */
  readonly halted: Promise<null>;
  /** When the program was let go; until then, when we began. */
  startedAt = performance.now();
  tree: Tree | null = null;

  readonly #sandbox: Supervised;
  readonly #conversation: Conversation;
  readonly #asking: Asking | undefined;
  readonly #logged: Promise<void>;
  readonly #halt: (ended: null) => void;
  readonly #hearing: Disposable;
  #watch: Disposable | null = null;
  #isLeft = false;

  /** `asking` is tried before a program is killed for no fault of its own. */
  constructor(sandbox: Supervised, conversation: Conversation, asking?: Asking) {
    this.#sandbox = sandbox;
    this.#conversation = conversation;
    this.#asking = asking;
    this.memory = new Memory(conversation.limits.residentMb * 1024 * 1024, sandbox.group?.bounds('memory'));
    const halt = Promise.withResolvers<null>();
    this.halted = halt.promise;
    this.#halt = halt.resolve;
    this.#logged = this.#readLog();
    this.#hearing = onAbort(conversation.stopped, () => this.#stop());
  }

  /** Waits until the sandbox is up and lets the program go; false where the run was stopped before. */
  async begin(): Promise<boolean> {
    const { limits, meter, place, stopped } = this.#conversation;
    const { memory } = this;
    const { group, ready } = this.#sandbox;
    const bounded = group === null ? ready : ready.then(() => group.boundMemory(memory.allowed));
    const bootedAt = performance.now();
    const booting = setTimeout(() => this.over(bootedTooSlowly(limits.bootMs)), limits.bootMs);
    await Promise.race([bounded, this.halted]).finally(() => clearTimeout(booting));
    this.startedAt = performance.now();
    // A timer that comes late must not make the limit longer.
    if (this.startedAt - bootedAt > limits.bootMs) this.over(bootedTooSlowly(limits.bootMs));
    if (stopped.aborted) return false;

    const tree = this.#sandbox.go();
    tree.begin();
    this.tree = tree;
    const judge = (failure: Failure | null) => {
      if (failure !== null) this.over(failure);
    };
    this.#watch = meter.watch({
      tree,
      memory,
      mostProcesses: MOST_PROCESSES,
      onSample: (sample) => {
        // A sum that is larger than allowed may count much of it many times over.
        place.residentBytes = Math.min(sample.residentBytes, memory.allowed);
        judge(overLimit(sample, limits) ?? refused(group?.refusal()));
      },
      onWeight: (bytes) => judge(tooLarge(memory.allowed, bytes)),
    });
    return true;
  }

  /** Ends the run for what its program does: at once, also where it has been asked to end and is given time for it. */
  over(failure: Failure): void {
    if (this.#isLeft || this.#conversation.stopped.aborted) this.#kill();
    else this.#conversation.stop.abort(failure);
  }

  /** A good moment to see how large it has become. */
  look(): void {
    if (this.tree !== null) this.memory.see(this.tree.sample(MOST_PROCESSES));
  }

  /**
   * Reads what the program has left in its pipes, the one to `answered` among them. What it has written itself is there
   * by now. Somebody it left behind may still write, and does not get to delay the answer for long.
   */
  async drain(answered: Promise<void>, ending: Ending | null): Promise<void> {
    if (this.#conversation.stopped.aborted) this.look();
    this.#hearKernel(ending);
    this.#watch?.[Symbol.dispose]();
    if (!this.#sandbox.deserted()) await within(DRAIN_MS, Promise.all([answered, this.#logged]), this.halted);
    // One whole turn of the event loop reads all that lies in them, also if we were busy until now.
    for (let half = 0; half < 2; half++) await turn();
    this.#conversation.journal.end();
    if (ending !== null) this.tree?.settle(ending.cpuMs);
  }

  /** What it has refused, and counted: all of it is there until the sandbox is gone. */
  #hearKernel(ending: Ending | null): void {
    const { group } = this.#sandbox;
    if (group === null) return;
    const refusal = refused(group.refusal());
    // Who got along without what it was refused is not held to account for it.
    if (refusal !== null && ending?.code !== 0 && !this.#conversation.stopped.aborted) this.over(refusal);
    if (group.bounds('memory')) this.memory.reached(group.peakBytes());
  }

  /** The outcome is there; what the program does until it ends is held to its limits, and is nobody's concern. */
  leave(): void {
    this.#isLeft = true;
    this.#hearing[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#watch?.[Symbol.dispose]();
    this.#hearing[Symbol.dispose]();
  }

  #stop(): void {
    const { stop } = this.#conversation;
    // Before it was let go there is nobody to ask, and who goes over a limit is not asked.
    if (this.#asking === undefined || this.tree === null || stop.signal.aborted) return this.#kill();
    const { ask, patienceMs } = this.#asking;
    void within(patienceMs, ask()).then(() => this.#kill());
  }

  #kill(): void {
    this.#sandbox.kill();
    this.#halt(null);
  }

  #readLog(): Promise<void> {
    const { limits, journal } = this.#conversation;
    const { stderr } = this.#sandbox;
    const most = mostLoggedBytes(limits);
    return closed(stderr, (chunk) => {
      // A run that is ended for this leaves full pipes behind, which are not worth a look.
      if (this.#isLeft || journal.written > most) return;
      journal.push(chunk);
      if (journal.written > most) this.over(tooMuchLogged(most, journal.written));
      // Node reads one stream up to 32 times in a row, which is too long if several of them are floods.
      if (journal.written > limits.logBytes) {
        stderr.pause();
        setImmediate(() => stderr.resume());
      }
    });
  }
}

/** What it needs of a sandbox. */
export type Supervised = Pick<
  Sandbox,
  'stdout' | 'stderr' | 'ready' | 'ended' | 'group' | 'go' | 'terminate' | 'kill' | 'deserted'
>;

const DRAIN_MS = 100;
