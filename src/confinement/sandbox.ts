import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { setPriority } from 'node:os';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../core/failure.ts';
import type { Group } from './cgroup/group.ts';
import { type Ending, type Launch, launchArgs, READY, type Relay, readReport } from './launcher.ts';
import { type Machine, type Way, withFilter } from './machine.ts';
import type { Pipe, Pipes } from './pipes.ts';
import { type Posture, postureOf } from './posture.ts';
import { Stored } from './stored.ts';
import { childrenOf, killMarked, Tree } from './tree.ts';

/**
 * A confined process tree. Leaving its scope ends all of it, whatever state it is in. Nothing outside of this folder
 * knows how it is confined.
 *
 * How it works. In a room of its own there are these processes (at a lesser tier unshare stands in for bwrap):
 *
 *     bwrap ─ sh (the launcher, first of its namespace) ─┬─ the program ─ …
 *                                                        └─ socat (the relay to the gateway)
 *
 * Killing the launcher makes the kernel kill all the rest, also what has daemonised or ignores signals, and only when
 * the last of them is gone does bwrap get to see its child end. So we kill the launcher, never bwrap, and the end of
 * bwrap is the proof that nothing is left. Should we be killed ourselves, the kernel ends bwrap and the launcher with
 * us. It does so only once bwrap has come as far as to ask for it: that is why the launcher holds the program back
 * until it has heard of us.
 *
 * Without namespaces the launcher leads a process group. We kill the group, then what we have seen descend from it, then
 * all that carries the mark of this run in its environment, again and again until a look finds nothing. All of that
 * misses what hides well; a control group, where there is one, does not.
 */
export class Sandbox implements AsyncDisposable {
  readonly stdout: Socket;
  readonly stderr: Socket;
  /** The launcher is up and holds the program back until `go`. Rejects with a Failure if it never gets there. */
  readonly ready: Promise<void>;
  /** The program has ended; others of its tree may go on. Null where the launcher was killed and could not tell. */
  readonly ended: Promise<Ending | null>;
  /** What all of it is in; null where it has none of its own. */
  readonly group: Group | null;

  readonly #child: ChildProcess;
  readonly #way: Way;
  readonly #mark: string;
  readonly #exited: Promise<void>;
  #tree: Tree | null = null;
  #launcher: number | null = null;
  /** The relay; it is no part of the program. */
  #ours: readonly number[] = [];
  #gone = false;
  #killed = false;

  private constructor(
    child: ChildProcess,
    { stdout, stderr }: { stdout: Pipe; stderr: Pipe },
    { way, mark, group }: Marks,
  ) {
    this.stdout = stdout.socket;
    this.stderr = stderr.socket;
    this.#child = child;
    this.#way = way;
    this.#mark = mark;
    this.group = group;

    const ready = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<Ending | null>();
    const exited = Promise.withResolvers<void>();
    this.ready = ready.promise;
    this.ended = ended.promise;
    this.#exited = exited.promise;
    // Whoever waits hears of it; whoever was stopped before has no reason to wait.
    this.ready.catch(() => {});

    const begin = () => {
      // Nothing of the program is in it yet.
      if (this.#tree === null) group?.disregard();
      ready.resolve();
    };
    let report = '';
    this.#line
      .on('error', () => {})
      .on('data', (chunk: Buffer) => {
        if (report.length < LONGEST_REPORT) report += chunk.toString('latin1');
        if (report.startsWith(READY)) begin();
        const ending = readReport(report);
        if (ending !== null) ended.resolve(ending);
      });
    const over = (cause: unknown) => {
      this.#gone = true;
      ready.reject(new Failure('sandbox_unavailable', 'The sandbox of the plugin could not be started', { cause }));
      ended.resolve(null);
      exited.resolve();
    };
    child.once('error', over);
    child.once('exit', (code, signal) => over(new Error(`launcher ended with ${signal ?? code}: ${report}`)));
  }

  static async spawn(
    { stdin, cwd, environment, mark, relay, ...launch }: Program,
    { machine, way, pipes, group }: Ground,
  ): Promise<Sandbox> {
    using opened = new DisposableStack();
    const stdout = opened.use(await pipes.open());
    const stderr = opened.use(await pipes.open());
    const [program = '', ...rest] = [...(group?.prefix ?? []), ...launchArgs(launch, way, relay)];
    let child: ChildProcess;
    try {
      child = withFilter(machine, 'program', (filter) => {
        // Detached: it leads a session and a group of its own, and a signal to us from a terminal is none to it.
        const stdio = [stdin, stdout.fd, 'ignore' as const, 'pipe' as const, stderr.fd, ...filter];
        return spawn(program, rest, { cwd, env: environment, stdio, detached: true });
      });
    } catch (cause) {
      const tooLong = (cause as NodeJS.ErrnoException).code === 'E2BIG';
      if (tooLong) throw new Failure('plugin_boot_failed', 'Its arguments are longer than the system takes', { cause });
      throw new Failure('sandbox_unavailable', 'The sandbox of the plugin could not be started', { cause });
    }
    // Without descriptors to spare Node does not get as far as to make the child's ends.
    if (child.stdio === undefined) {
      const [cause] = await once(child, 'error').catch((error) => [error]);
      throw new Failure('sandbox_unavailable', 'The sandbox of the plugin could not be started', { cause });
    }
    stdout.given();
    stderr.given();
    opened.move();
    return new Sandbox(child, { stdout, stderr }, { way, mark, group });
  }

  /** Of the first process, whose children all others are. */
  get pid(): number {
    return this.#child.pid as number;
  }

  /** What the program is about; it has to be on its way. */
  get posture(): Posture {
    const [pid, ...orphans] = childrenOf(this.#launcher ?? this.pid, 1).filter((one) => !this.#ours.includes(one));
    if (pid === undefined) return { state: 'gone', isUnnoticed: false };
    const { state, isUnnoticed } = postureOf(pid);
    // Whoever has lost its parent falls to the launcher.
    return { state, isUnnoticed: isUnnoticed && orphans.length === 0 };
  }

  /** Lets the program start, if it has not. What it uses can be looked at from here on. */
  go(): Tree {
    if (this.#tree !== null) return this.#tree;
    const { pid } = this;
    this.#launcher = this.#way.isFirst ? (childrenOf(pid, 1)[0] ?? null) : pid;
    // What is there before the program is ours.
    this.#ours = childrenOf(this.#launcher ?? pid, 1);
    const group = this.#way.isFirst ? null : this.group;
    const before = group?.cpuMs() ?? 0;
    const account = group === null ? null : () => group.cpuMs() - before;
    // What the kernel counts nobody has to look for.
    const isCounted = this.group?.bounds('memory') ?? false;
    const stored = isCounted ? null : new Stored(this.#way.hasOwnFiles ? this.#launcher : null);
    this.#tree = new Tree(this.#launcher ?? pid, { except: this.#ours, account, stored });
    giveWay(this.#launcher ?? pid);
    this.#line.write('\n');
    return this.#tree;
  }

  /** Whether the program has left nobody behind, as far as can be told for certain. */
  deserted(): boolean {
    return (
      this.#way.isFirst &&
      this.#launcher !== null &&
      childrenOf(this.#launcher, 1).every((pid) => this.#ours.includes(pid))
    );
  }

  /** Asks the program to end, and tells whether it has within `graceMs`. What it has started is asked, too. */
  async terminate(graceMs: number): Promise<boolean> {
    if (this.#tree === null || this.#killed) return false;
    this.#tree.sample(EVERYBODY);
    this.#tree.kill('SIGTERM');
    const patience = new AbortController();
    const late = sleep(graceMs, false, { signal: patience.signal }).catch(() => false);
    const ended = await Promise.race([this.ended.then(() => true), late]);
    patience.abort();
    return ended;
  }

  /** SIGKILL at once: SIGTERM is a request, and a plugin may decline it. */
  kill(): void {
    if (this.#killed) return;
    this.#killed = true;
    if (this.#way.isFirst && this.#launcher !== null) {
      if (!this.#gone) signal(this.#launcher);
      return;
    }
    this.group?.kill();
    // To find what has left the group we must look while its parents are there to find it by.
    this.#tree?.sample(EVERYBODY);
    if (this.#child.pid !== undefined) signal(-this.#child.pid);
    this.#tree?.kill('SIGKILL');
  }

  /** Resolves when nothing is left, or when we have to give up on something that cannot be killed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    this.stdout.destroy();
    this.stderr.destroy();
    if (!(await this.#settlesIn(PATIENCE_MS)) && this.#child.pid !== undefined) {
      signal(-this.#child.pid);
      await this.#settlesIn(PATIENCE_MS);
    }
    // Only now: the watcher takes this for our death, and would kill unshare before its work is done.
    this.#line.destroy();
    // Who was ended before the program was let go has died with its parent, and perhaps a moment after it.
    if (!this.#way.isFirst || this.#launcher === null) {
      for (let round = 0; round < SWEEPS && killMarked(this.#mark) > 0; round++) await sleep(SWEEP_MS);
    }
  }

  get #line(): Duplex {
    return this.#child.stdio[3] as Duplex;
  }

  async #settlesIn(ms: number): Promise<boolean> {
    const patience = new AbortController();
    const late = sleep(ms, false, { signal: patience.signal }).catch(() => false);
    const settled = await Promise.race([this.#exited.then(() => true), late]);
    patience.abort();
    return settled;
  }
}

export type Program = Launch & {
  /** A descriptor to read from. */
  stdin: number;
  cwd: string;
  environment: Record<string, string>;
  /** The value of the mark in `environment`. */
  mark: string;
  /** What leads to its gateway; null where it needs none, or has none. */
  relay: Relay | null;
};

/** What it stands on: the machine, the way into its room, where its output comes from, and what all of it is in. */
export type Ground = {
  machine: Machine;
  way: Way;
  pipes: Pipes;
  /** Null where it has none of its own. It has to outlive the sandbox. */
  group: Group | null;
};

type Marks = Pick<Ground, 'way' | 'group'> & { mark: string };

/**
 * What it computes, and all that it starts, comes after what the service and others have to do. Where the kernel shares
 * out processors by session, which it does where nobody has told it better, it is the session that has to be told.
 */
function giveWay(pid: number): void {
  try {
    setPriority(pid, NICENESS);
    writeFileSync(`/proc/${pid}/autogroup`, String(NICENESS));
  } catch {
    // It is a courtesy, and not every system has it.
  }
}

function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone already, which is what we want.
  }
}

const NICENESS = 10;
const EVERYBODY = 4096;
const LONGEST_REPORT = 4096;
const PATIENCE_MS = 10_000;
const SWEEPS = 200;
const SWEEP_MS = 5;
