/**
 * What the findings of the probes mean, held against what was seen from outside: pure, and all in one place. A layer is
 * proven only if every attempt at it was made and came to nothing. What could not be tried is not proven.
 */
import type { Layer, LayerState } from '../../core/isolation.ts';
import type { Attempts, Findings, Permissions } from './findings.ts';
import { LAYERS, type LayerId } from './layers.ts';
import type { Seen } from './witness.ts';

export type Evidence = {
  of: 'processes' | 'executors' | 'residents' | 'servers';
  /** Of the room; null where its probe did not come to its end, and why. */
  room: Findings | null;
  failure: string | null;
  forks: Bound;
  memory: Bound;
  /** What came of it as an executor; null where it did not come up, or is none. */
  permissions: Permissions | null;
  /** From outside. */
  reached: Readonly<Record<'tcp' | 'tcp6' | 'udp' | 'unix' | 'abstract' | 'signal', boolean>>;
  planted: readonly string[];
  survived: { plain: boolean; hidden: boolean };
  seen: Seen | null;
  ourselves: Seen;
  /** What its control group bounds, if it has one. */
  controllers: readonly string[];
  /** What a program may have. */
  environment: readonly string[];
  descriptors: readonly number[];
};

/** What came of using ever more of something. `by` is what put an end to it; null where nothing did. */
export type Bound = { by: string | null; said: string };

type Verdict = { state: LayerState; evidence: string };
type Judge = (evidence: Evidence, room: Findings) => Verdict;

export function judge(evidence: Evidence): Layer[] {
  const ids = Object.keys(LAYERS) as LayerId[];
  return ids
    .filter((id) => id !== 'permissions' || evidence.of === 'executors')
    .map((id) => {
      const { state, evidence: words } = verdictOn(id, evidence);
      const { name, from: neededFrom } = LAYERS[id];
      return { id, name, neededFrom, state, evidence: words.slice(0, EVIDENCE_MOST) };
    });
}

const EVIDENCE_MOST = 300;

function verdictOn(id: LayerId, evidence: Evidence): Verdict {
  const alone = ALONE[id];
  if (alone !== undefined) return alone(evidence);
  if (evidence.room === null) return absent(`could not be tried: ${evidence.failure ?? 'the probe said nothing'}`);
  return (BY_ROOM as Record<string, Judge>)[id]?.(evidence, evidence.room) ?? absent('nothing is known of it');
}

/** What has a probe of its own. */
const ALONE: Partial<Record<LayerId, (evidence: Evidence) => Verdict>> = {
  processes: ({ forks }) => bounded(forks),
  memory: ({ memory }) => bounded(memory),
  permissions: ({ permissions }) => {
    if (permissions === null) return absent('could not be tried: what an executor is started as did not come up');
    if (!permissions.isOn) return absent('it is off');
    const wrong = named(permissions.tries, (one) => one !== 'ERR_ACCESS_DENIED');
    return wrong.length > 0 ? absent(`not refused: ${list(wrong)}`) : proven(`refused: ${list(permissions.tries)}`);
  },
};

function bounded({ by, said }: Bound): Verdict {
  return by === null ? absent(said) : proven(`${said}: ${by}`);
}

const BY_ROOM: Record<Exclude<LayerId, 'processes' | 'memory' | 'permissions'>, Judge> = {
  environment: ({ environment }, { environment: { names, secret } }) => {
    if (secret) return absent('a secret of the service was in it');
    const others = names.filter((name) => !USUAL.test(name) && !environment.includes(name));
    if (others.length > 0) return absent(`it has ${list(others)}`);
    return proven(`${names.length} variables, all of them its own`);
  },

  descriptors: ({ descriptors }, { descriptors: found }) => {
    const others = found.filter(({ number }) => !descriptors.includes(number));
    if (others.length > 0) return absent(`it has ${list(others.map(({ number, leads }) => `${number} (${leads})`))}`);
    return proven(`none but ${list([0, 1, 2, ...descriptors].map(String))}`);
  },

  privileges: (_, { status, rises }) => {
    if (status.NoNewPrivs === undefined) return absent('could not be tried: the kernel does not say');
    if (status.NoNewPrivs !== '1') return absent('programs that are set-uid still give theirs (NoNewPrivs is 0)');
    return refused(rises, 'NoNewPrivs is 1');
  },

  files: (_, { longFile, rooms, core }) => {
    if (core === 'ok') return absent('a crash leaves a core file');
    const small = new Set(rooms.filter(isSmall).map(({ path }) => path));
    const endless = named(longFile, (outcome, place) => outcome === 'ok' && !small.has(place));
    if (endless.length > 0) return absent(`64 GB fit into a file in ${list(endless)}`);
    const cores = { none: ', no core', collected: ', cores go to the machine’s collector', untried: '' }[core];
    return proven(
      `${Object.keys(longFile).length === 0 ? 'it can write nowhere' : 'a file of 64 GB is refused'}${cores}`,
    );
  },

  descendants: ({ survived }, { survivors }) => {
    if (survivors.plain !== 'ok') return absent(`could not be tried: ${survivors.plain}`);
    return survived.plain
      ? absent('a child with a session of its own lived on')
      : proven('a child that left its session is gone');
  },

  'own-files': ({ planted }, { reads, plants }) => {
    if (planted.length > 0) return absent(`it wrote into ${list(planted)}`);
    const wrote = named(plants, (outcome) => outcome === 'ok');
    // It may have written into a world of its own at that place, which is nobody's loss.
    const read = refused(
      reads,
      `nothing to read or write among ${Object.keys(reads).length + wrote.length} places of others`,
    );
    return read;
  },

  identity: ({ seen, ourselves }) => {
    if (seen === null) return absent('could not be seen from outside');
    if (seen.uid === 0) return absent('it is root');
    if (seen.uid !== ourselves.uid) return proven(`it is user ${seen.uid}, the service ${ourselves.uid}`);
    const own = seen.namespaces.user !== null && seen.namespaces.user !== ourselves.namespaces.user;
    if (own) return proven(`it is user ${seen.uid} in a user namespace of its own`);
    return absent(`it is user ${seen.uid}, as the service is`);
  },

  capabilities: (_, { status }) => {
    const sets = ['CapEff', 'CapPrm', 'CapInh', 'CapAmb'].map((name) => [name, status[name]] as const);
    if (sets.some(([, bits]) => bits === undefined)) return absent('could not be tried: the kernel does not say');
    const some = sets.filter(([, bits]) => !/^0+$/.test(bits ?? ''));
    if (some.length > 0) return absent(some.map(([name, bits]) => `${name} is ${bits}`).join(', '));
    const never = /^0+$/.test(status.CapBnd ?? '') || status.NoNewPrivs === '1';
    return never ? proven('none, and no way to any') : absent('a set-uid program would have some');
  },

  'system-calls': (_, { status, calls }) => {
    if (status.Seccomp !== '2') return absent(`there is no filter (Seccomp is ${status.Seccomp ?? 'unknown'})`);
    // An answer to what was asked means that it got there.
    return refused(calls, `refused: ${list(Object.keys(calls))}`, (outcome) => REFUSALS.has(outcome));
  },

  network: ({ reached }, { network }) => {
    const got = Object.entries(reached).filter(([name, was]) => was && name !== 'signal');
    if (got.length > 0) return absent(`reached on this machine: ${list(got.map(([name]) => name))}`);
    const { udp, tcp6, ...rest } = network;
    // What is sent to nobody goes well: that it did not come was seen. A machine without ::1 has nobody there.
    const tries = {
      ...rest,
      ...(tcp6?.startsWith('?') === false ? { tcp6 } : {}),
      ...(isUntried(udp) ? { udp: udp ?? '?' } : {}),
    };
    return refused(tries, `nothing reached of ${list(Object.keys(network))}`);
  },

  sockets: (_, { families }) => refused(families, `none of ${list(Object.keys(families))}`),

  signals: ({ reached, seen, ourselves }, { others, namespaces }) => {
    if (reached.signal) return absent('it ended a process of the service’s user');
    const tries = refused(others, 'no process of the service’s user could be signalled, traced or read');
    if (tries.state === 'absent') return tries;
    const apart = ownPidNamespace({ seen, ourselves }, namespaces);
    if (apart !== true && others.signal === undefined)
      return absent('could not be tried: nobody knows whose numbers it sees');
    return tries;
  },

  namespaces: (_, { nested }) => refused(nested, `refused: ${list(Object.keys(nested))}`),

  devices: (_, { devices: { open, tries } }) => {
    const reached = [...named(tries, (outcome) => outcome === 'ok'), ...open];
    return reached.length > 0
      ? absent(`could be opened: ${list(reached)}`)
      : proven('none but the basic ones can be opened');
  },

  room: (_, { rooms }) => {
    if (rooms.length === 0) return { state: 'not needed', evidence: 'it can write nowhere' };
    const endless = rooms.filter((one) => !isSmall(one));
    if (endless.length > 0) return absent(`no bound in ${list(endless.map(({ path, kind }) => `${path} (${kind})`))}`);
    return proven(list(rooms.map(({ path, bytes }) => `${path}: ${Math.round(bytes / 2 ** 20)} MB`)));
  },

  'process-list': (_, { processes: { canary, seen } }) =>
    canary ? absent(`it sees those of others, ${seen} in all`) : proven(`it sees ${seen}, none of anybody else`),

  'read-only': (_, { writes }) => refused(writes, `no writing in ${list(Object.keys(writes))}`),

  'certain-end': ({ survived, seen, ourselves }, { survivors, namespaces }) => {
    if (survivors.hidden !== 'ok') return absent(`could not be tried: ${survivors.hidden}`);
    if (survived.hidden) return absent('one that hid from us lived on');
    if (ownPidNamespace({ seen, ourselves }, namespaces) === true) {
      return proven('one that hid from us is gone, with the pid namespace that it was in');
    }
    // Who is of the service's user could leave it.
    if (seen?.cgroup != null && seen.uid !== ourselves.uid) {
      return proven('one that hid from us is gone, with the control group that it was in');
    }
    return absent('one that hid from us was found this time, and nothing makes that certain');
  },

  cgroup: ({ seen, memory, controllers }) => {
    if (seen?.cgroup != null) {
      const does = controllers.length > 0 ? `which bounds its ${list(controllers)}` : 'with which all of it ends';
      return proven(`${seen.cgroup}, ${does}`);
    }
    if (memory.by === null) return absent('none of its own');
    return { state: 'not needed', evidence: 'none of its own: we watch what it uses, which was seen to end it' };
  },
};

/** What every program may have. */
const USUAL =
  /^(?:PATH|HOME|TMPDIR|TZ|LANG|LANGUAGE|LC_[A-Z]+|PWD|OLDPWD|SHLVL|_|ISOPOD_RUN|PYTHONPATH|(?:HTTPS?|NO)_PROXY|(?:https?|no)_proxy|NODE_USE_ENV_PROXY|NODE_COMPILE_CACHE)$/;

const REFUSALS: ReadonlySet<string> = new Set(['EPERM', 'EACCES', 'ENOSYS']);

/** Every attempt was made, and refused. */
function refused(tries: Attempts, held: string, isRefusal = (outcome: string) => outcome !== 'ok'): Verdict {
  const done = named(tries, (outcome) => !isUntried(outcome) && !isRefusal(outcome));
  if (done.length > 0) return absent(`not refused: ${list(done.map((name) => `${name} (${tries[name]})`))}`);
  const untried = named(tries, isUntried);
  if (untried.length > 0) {
    const why = (tries[untried[0] ?? ''] ?? '').replace(/^\?\s*/, '');
    return absent(`could not be tried: ${list(untried)} (${why})`);
  }
  return proven(held);
}

/** The permission model speaks before the kernel is asked. */
function isUntried(outcome: string | undefined): boolean {
  return outcome === undefined || outcome.startsWith('?') || outcome === 'ERR_ACCESS_DENIED';
}

function isSmall({ beyond }: Findings['rooms'][number]): boolean {
  return beyond === 'ENOSPC' || beyond === 'EDQUOT';
}

/** Undefined where nobody could tell. */
function ownPidNamespace(
  { seen, ourselves }: Pick<Evidence, 'seen' | 'ourselves'>,
  namespaces: Findings['namespaces'],
): boolean | undefined {
  const theirs = seen?.namespaces.pid ?? namespaces.pid ?? null;
  const { pid: ours } = ourselves.namespaces;
  return theirs === null || ours === null ? undefined : theirs !== ours;
}

function named(tries: Attempts, is: (outcome: string, name: string) => boolean): string[] {
  return Object.keys(tries).filter((name) => is(tries[name] ?? '?', name));
}

function list(names: readonly string[] | Attempts): string {
  const all = Array.isArray(names) ? (names as readonly string[]) : Object.keys(names);
  return all.length > 12 ? `${all.slice(0, 12).join(', ')} and ${all.length - 12} more` : all.join(', ');
}

function proven(evidence: string): Verdict {
  return { state: 'proven', evidence };
}

function absent(evidence: string): Verdict {
  return { state: 'absent', evidence };
}
