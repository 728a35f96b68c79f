import type { Socket } from 'node:net';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { type Ending, MOST_PROCESSES } from '../../src/confinement/launcher.ts';
import type { Sandbox } from '../../src/confinement/sandbox.ts';
import type { Sample, Tree } from '../../src/confinement/tree.ts';
import { Failure, type Rung } from '../../src/core/failure.ts';
import type { Limits } from '../../src/core/limits.ts';
import { onAbort } from '../../src/core/signal.ts';
import type { Journal } from './journal.ts';
import { Memory } from './memory.ts';
import type { Meter } from './meter.ts';
import type { Place } from './turnstile.ts';

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
  /** How long a program that is asked to end may take; in ms. */
  graceMs: number;
};

/** What came of it. Of a run that was stopped, `stopped.reason` says the rest. */
export type Told = {
  stdout: Buffer;
  ending: Ending | null;
  tree: Tree | null;
  memory: Memory;
  startedAt: number;
  /** Whether it was stopped before its program had ended, and how. */
  isStopped: boolean;
  rung: Rung;
};

/**
 * The conversation with a raw plugin: it finds one text on standard input and answers with another on standard
 * output, whole and at its end; on standard error it logs. Rejects with a Failure if the sandbox does not come up.
 */
export async function converse(sandbox: Sandbox, conversation: Conversation): Promise<Told> {
  const { limits, journal, meter, place, stop, stopped, graceMs } = conversation;
  const memory = new Memory(limits.residentMb * 1024 * 1024);
  const startedAt = performance.now();
  const told: Told = {
    stdout: Buffer.alloc(0),
    ending: null,
    tree: null,
    memory,
    startedAt,
    isStopped: false,
    rung: 'killed',
  };
  const halt = Promise.withResolvers<null>();
  const halted = halt.promise;
  using _ = onAbort(stopped, async () => {
    told.isStopped = told.ending === null;
    // Who goes over a limit would use the time to go further.
    if (!stop.signal.aborted && graceMs > 0 && (await sandbox.terminate(graceMs))) told.rung = 'terminated';
    sandbox.kill();
    halt.resolve(null);
  });

  const chunks: Buffer[] = [];
  let bytes = 0;
  const stdoutClosed = closed(sandbox.stdout, (chunk) => {
    // Whoever answers is about to end: the last good moment to see how large it has become.
    if (bytes === 0 && told.tree !== null) memory.see(told.tree.sample(MOST_PROCESSES));
    bytes += chunk.length;
    if (bytes <= limits.outputBytes) chunks.push(chunk);
    else if (!stopped.aborted) stop.abort(tooLong(limits.outputBytes, bytes));
  });
  const mostLogged = mostLoggedBytes(limits);
  const stderrClosed = closed(sandbox.stderr, (chunk) => {
    // A run that is ended for this leaves full pipes behind, which are not worth a look.
    if (journal.written > mostLogged) return;
    journal.push(chunk);
    if (journal.written > mostLogged && !stopped.aborted) stop.abort(tooMuchLogged(mostLogged, journal.written));
    // Node reads one stream up to 32 times in a row, which is too long if several of them are floods.
    if (journal.written > limits.logBytes) {
      sandbox.stderr.pause();
      setImmediate(() => sandbox.stderr.resume());
    }
  });

  const bootedAt = performance.now();
  const booting = setTimeout(() => stop.abort(bootedTooSlowly(limits.bootMs)), limits.bootMs);
  await Promise.race([sandbox.ready, halted]).finally(() => clearTimeout(booting));
  told.startedAt = performance.now();
  // A timer that comes late must not make the limit longer.
  if (told.startedAt - bootedAt > limits.bootMs && !stopped.aborted) stop.abort(bootedTooSlowly(limits.bootMs));
  if (stopped.aborted) return told;

  const tree = sandbox.go();
  told.tree = tree;
  {
    const judge = (failure: Failure | null) => {
      if (failure === null) return;
      if (stopped.aborted) sandbox.kill();
      else stop.abort(failure);
    };
    using _watch = meter.watch({
      tree,
      memory,
      mostProcesses: MOST_PROCESSES,
      onSample: (sample) => {
        // A sum that is larger than allowed may count much of it many times over.
        place.residentBytes = Math.min(sample.residentBytes, memory.allowed);
        judge(overLimit(sample, limits));
      },
      onWeight: (bytes) => judge(tooLarge(memory.allowed, bytes)),
    });
    told.ending = await Promise.race([sandbox.ended, halted]);
    if (stopped.aborted) memory.see(tree.sample(MOST_PROCESSES));
  }

  // What the program itself has written is in the pipes by now. Somebody it left behind may still write to them, and
  // does not get to delay the answer for long.
  if (!sandbox.deserted()) {
    const patience = new AbortController();
    const enough = sleep(DRAIN_MS, null, { signal: patience.signal }).catch(() => null);
    await Promise.race([Promise.all([stdoutClosed, stderrClosed]), enough, halted]);
    patience.abort();
  }
  // One whole turn of the event loop reads all that lies in them, also if we were busy until now.
  for (let half = 0; half < 2; half++) await turn();
  journal.end();
  if (told.ending !== null) tree.settle(told.ending.cpuMs);
  told.stdout = Buffer.concat(chunks);
  return told;
}

function closed(socket: Socket, onData: (chunk: Buffer) => void): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  socket
    .on('error', () => {})
    .on('data', onData)
    .once('close', () => resolve());
  return promise;
}

function overLimit({ cpuMs, processes }: Sample, limits: Limits): Failure | null {
  if (cpuMs > limits.cpuMs) {
    const limit = { name: 'cpuMs', allowed: limits.cpuMs, observed: cpuMs, unit: 'ms' } as const;
    return new Failure('plugin_cpu_exceeded', 'Used more processor time than it may', { limit });
  }
  if (processes > MOST_PROCESSES) {
    const limit = { name: 'processes', allowed: MOST_PROCESSES, observed: processes, unit: 'count' } as const;
    return new Failure('plugin_resource_exceeded', 'Started more processes than it may', { limit });
  }
  return null;
}

function tooLarge(allowed: number, observed: number): Failure | null {
  if (observed <= allowed) return null;
  const limit = { name: 'residentMb', allowed, observed, unit: 'bytes' } as const;
  return new Failure('plugin_memory_exceeded', 'Used more memory than it may', { limit });
}

function tooLong(allowed: number, observed: number): Failure {
  const limit = { name: 'outputBytes', allowed, observed, unit: 'bytes' } as const;
  return new Failure('plugin_output_too_large', 'Answered more than it may', { limit });
}

/**
 * What is beyond `logBytes` is dropped, which is all that an honest program notices. This is for those that write for
 * the sake of it: to read and drop that takes a good part of a core, and it is ours.
 */
function mostLoggedBytes({ logBytes }: Pick<Limits, 'logBytes'>): number {
  return Math.max(64 * logBytes, LEAST_FLOOD);
}

function tooMuchLogged(allowed: number, observed: number): Failure {
  const limit = { name: 'logBytes', allowed, observed, unit: 'bytes' } as const;
  return new Failure('plugin_resource_exceeded', 'Wrote far more to its log than it may', { limit });
}

function bootedTooSlowly(allowed: number): Failure {
  const limit = { name: 'bootMs', allowed, observed: allowed, unit: 'ms' } as const;
  return new Failure('plugin_boot_failed', 'Took longer to start than it may', { limit });
}

const DRAIN_MS = 100;
const LEAST_FLOOD = 64 << 20;
