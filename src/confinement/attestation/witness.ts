import { access, readdir, readFile, readlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** What the kernel says of a process from outside of its room, where nobody can have told it lies. */
export type Seen = {
  uid: number;
  namespaces: { pid: string | null; user: string | null };
  /** Where it is in the hierarchy of version 2; null where there is none, or where it is in ours. */
  cgroup: string | null;
};

const EVERY_MS = 15;

/** Looks for a process that calls itself so, tells it that it was seen, and says what it is. */
export async function watchFor(name: string, signal: AbortSignal): Promise<Seen | null> {
  while (!signal.aborted) {
    for (const pid of await pids()) {
      if ((await text(`/proc/${pid}/comm`)) !== `${name}\n`) continue;
      const seen = await look(pid);
      try {
        process.kill(pid, 'SIGUSR2');
      } catch {
        // It goes on by itself in a moment.
      }
      if (seen !== null) return seen;
    }
    await sleep(EVERY_MS);
  }
  return null;
}

/** The same of ourselves. */
export async function ourselves(): Promise<Seen> {
  return (await look(process.pid, null)) ?? { uid: process.getuid?.() ?? 0, namespaces: NONE, cgroup: null };
}

const NONE = { pid: null, user: null };

async function look(pid: number, ours?: string | null): Promise<Seen | null> {
  const status = await text(`/proc/${pid}/status`);
  const uid = /^Uid:\s+(\d+)/m.exec(status)?.[1];
  if (uid === undefined) return null;
  const cgroup = await cgroupOf(pid);
  const own = ours === null ? null : await cgroupOf(process.pid);
  return {
    uid: Number(uid),
    namespaces: { pid: await link(`/proc/${pid}/ns/pid`), user: await link(`/proc/${pid}/ns/user`) },
    cgroup: cgroup === own ? null : cgroup,
  };
}

async function cgroupOf(pid: number): Promise<string | null> {
  return /^0::(.*)$/m.exec(await text(`/proc/${pid}/cgroup`))?.[1] ?? null;
}

/** Ends what is called so, and says whether there was any. */
export async function endAll(called: string): Promise<boolean> {
  let found = false;
  for (const pid of await pids()) {
    if (!(await text(`/proc/${pid}/cmdline`)).includes(called)) continue;
    found = true;
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // Somebody else's user, or gone: it ends by itself.
    }
  }
  return found;
}

async function pids(): Promise<number[]> {
  const names = await readdir('/proc').catch(() => []);
  return names.filter((one) => /^\d+$/.test(one)).map(Number);
}

function text(path: string): Promise<string> {
  return readFile(path, 'latin1').catch(() => '');
}

function link(path: string): Promise<string | null> {
  return readlink(path).catch(() => null);
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
