/**
 * Proves what a room is worth: lays out canaries, has probes run in it as plugins are, looks on from outside, and judges
 * what came of it. Three runs, side by side: one tries every way out; one starts processes and one takes memory, both of
 * which have to be stopped.
 */

import { availableParallelism, loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Value } from 'typebox/value';
import type { Isolation, Layer } from '../../core/isolation.ts';
import { Canaries, type CanaryOptions, type ProbeName } from './canaries.ts';
import { Forks, findingsIn, Hoard, Permissions } from './findings.ts';
import { type Bound, type Evidence, judge } from './judge.ts';
import { gradeOf } from './layers.ts';
import type { ProbeRun, Prober } from './prober.ts';
import { NO_PYTHON, raiseOf } from './raise.ts';
import { surroundings } from './surroundings.ts';
import { endAll, ourselves, type Seen, watchFor } from './witness.ts';

export type AttestOptions = CanaryOptions & { of: Evidence['of'] };

/** Beyond what every bound of ours is. */
const FORKS = 1_024;
const MEMORY_MB = { allowed: 64, tried: 384 };
/** What the probe of the room itself may use. */
const ROOM_MB = 256;

/** Does not reject: what cannot be tried is not proven. */
export async function attest(prober: Prober, options: AttestOptions): Promise<Isolation> {
  let isolation = await attestOnce(prober, options);
  // What does not come to be tried, as everybody waits for a processor, may hold all the same.
  for (let again = 1; again < LOOKS_MOST && isolation.layers.some(isUntried); again++) {
    if (again > 1 && !isBusy()) break;
    await sleep(AGAIN_MS);
    isolation = await attestOnce(prober, options);
  }
  return isolation;
}

const LOOKS_MOST = 3;
const AGAIN_MS = 1_000;

function isBusy(): boolean {
  return (loadavg()[0] ?? 0) > availableParallelism();
}

function isUntried({ state, neededFrom, evidence }: Layer): boolean {
  const isWhole = state !== 'absent' || neededFrom === null || !evidence.startsWith('could not be');
  return !isWhole && !evidence.includes(NO_PYTHON);
}

async function attestOnce(prober: Prober, options: AttestOptions): Promise<Isolation> {
  const layers = await looked(prober, options).catch((error: unknown) => {
    const failure = `could not be tried: ${error instanceof Error ? error.message : String(error)}`;
    return judge({ ...NOTHING, of: options.of, failure });
  });
  const { tier, isWish } = prober;
  const grade = gradeOf(layers);
  const raise = raiseOf({ grade, layers, tier, isWish, surroundings: await surroundings() });
  return { tier, grade, layers, raise, checkedAt: new Date() };
}

async function looked(prober: Prober, options: AttestOptions) {
  if (process.platform !== 'linux') {
    return judge({
      ...NOTHING,
      of: options.of,
      failure: `this is ${process.platform}, where nothing is known to hold`,
    });
  }
  await using canaries = await Canaries.lay(options);
  const executor = options.of === 'executors' ? permissionsOf(prober, canaries) : null;
  const [room, forks, memory, permissions] = await Promise.all([
    roomOf(prober, canaries),
    forksOf(prober, canaries),
    memoryOf(prober, canaries),
    executor,
  ]);
  return judge({
    of: options.of,
    ...room,
    forks,
    memory,
    permissions,
    reached: canaries.reached,
    planted: await canaries.planted(),
    ourselves: await ourselves(),
    controllers: prober.controllers ?? [],
    environment: prober.environment,
    descriptors: prober.descriptors,
  });
}

const NOTHING: Omit<Evidence, 'of' | 'failure'> = {
  room: null,
  forks: { by: null, said: 'could not be tried' },
  memory: { by: null, said: 'could not be tried' },
  permissions: null,
  reached: { tcp: false, tcp6: false, udp: false, unix: false, abstract: false, signal: false },
  planted: [],
  survived: { plain: true, hidden: true },
  seen: null,
  ourselves: { uid: 0, namespaces: { pid: null, user: null }, cgroup: null },
  controllers: [],
  environment: [],
  descriptors: [],
};

type Room = Pick<Evidence, 'room' | 'failure' | 'seen' | 'survived'>;

async function roomOf(prober: Prober, canaries: Canaries): Promise<Room> {
  const task = await canaries.task();
  const over = new AbortController();
  const watching = watchFor(canaries.shown, over.signal);
  let run: ProbeRun;
  let seen: Seen | null;
  try {
    run = await ran(prober, canaries, 'room', { args: [task], residentMb: ROOM_MB });
  } finally {
    over.abort();
    seen = await watching;
  }
  const room = findingsIn(outputOf(run));
  // At once, while nothing of it should be there.
  const survived = {
    plain: await endAll(`isopod-survivor-${canaries.id}-plain`),
    hidden: await endAll(`isopod-survivor-${canaries.id}-hidden`),
  };
  return { room, failure: room === null ? whyOf(run) : null, seen, survived };
}

async function forksOf(prober: Prober, canaries: Canaries): Promise<Bound> {
  const run = await ran(prober, canaries, 'forks', { args: [String(FORKS)], residentMb: 4 * MEMORY_MB.tried });
  if (run.failure !== null) return stopped(run, ['plugin_resource_exceeded', 'plugin_memory_exceeded']);
  const output = outputOf(run);
  if (!Value.Check(Forks, output)) return { by: null, said: `could not be tried: ${whyOf(run)}` };
  const { count, refused } = output;
  return { by: refused, said: `${count} processes at once` };
}

async function memoryOf(prober: Prober, canaries: Canaries): Promise<Bound> {
  const { allowed, tried } = MEMORY_MB;
  const run =
    (await prober.hoard?.(canaries.probe('hoard.js'), allowed)) ??
    (await ran(prober, canaries, 'memory', { args: [String(tried)], residentMb: allowed }));
  if (run.failure !== null) return stopped(run, ['plugin_memory_exceeded']);
  const output = outputOf(run);
  if (!Value.Check(Hoard, output)) return { by: null, said: `could not be tried: ${whyOf(run)}` };
  const { mb, refused } = output;
  return { by: refused ? 'the kernel refuses more' : null, said: `${mb} MB where ${allowed} were allowed` };
}

async function permissionsOf(prober: Prober, canaries: Canaries): Promise<Permissions | null> {
  const file = canaries.probe('permissions.mjs');
  const output = outputOf(await prober.run({ by: 'executor', file, args: [], residentMb: ROOM_MB }));
  return Value.Check(Permissions, output) ? output : null;
}

type Asked = { args: readonly string[]; residentMb: number };

/** In Python, which gets further, or else in what there is. */
async function ran(
  prober: Prober,
  canaries: Canaries,
  name: 'room' | 'forks' | 'memory',
  asked: Asked,
): Promise<ProbeRun> {
  const program = (by: 'python' | 'node', file: ProbeName) => prober.run({ by, file: canaries.probe(file), ...asked });
  let run = await program('python', `${name}.py`);
  // Perhaps the machine was busy.
  if (SHORT.has(run.failure?.code ?? '')) run = await program('python', `${name}.py`);
  if (run.failure?.code !== 'plugin_boot_failed') return run;
  return await program('node', `${name}.mjs`);
}

const SHORT: ReadonlySet<string> = new Set(['plugin_timeout', 'sandbox_unavailable', 'overloaded']);

function stopped({ failure }: ProbeRun, by: readonly string[]): Bound {
  const { code, message } = failure as NonNullable<ProbeRun['failure']>;
  if (by.includes(code)) return { by: code, said: 'it was ended' };
  return { by: null, said: `could not be tried: ${message}` };
}

/** As plugins answer: JSON with an `output`. */
function outputOf({ stdout }: ProbeRun): unknown {
  try {
    return (JSON.parse(stdout ?? '') as { output?: unknown }).output;
  } catch {
    return undefined;
  }
}

function whyOf({ failure, stdout }: ProbeRun): string {
  return (
    failure?.message ?? (stdout === null || stdout === '' ? 'the probe said nothing' : 'the probe said nothing of use')
  );
}
