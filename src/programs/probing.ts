import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Invocation } from '../core/invocation.ts';
import type { Desk, Home, Residency } from '../core/resident.ts';

/** What starts probes where programs stay is a plugin as any other, in folders as any other has. */
export async function inProbedHome<T>(
  { name, text }: { name: string; text: string },
  does: (home: Home) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'isopod-probe-'));
  try {
    const home = { code: join(folder, 'code', 'attestation'), data: join(folder, 'data') };
    await mkdir(home.code, { recursive: true });
    await mkdir(home.data);
    await writeFile(join(home.code, name), text);
    return await does(home);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Of a plugin that nobody has installed, and that may turn to nobody. */
export function probedResidency(invocation: Invocation, home: Home, id: string): Residency {
  return {
    ...invocation,
    plugin: { ...invocation.plugin, id, realDir: home.code, dir: home.code },
    assertWanted: () => {},
    home: async () => home,
    openSession: () => invocation.session,
    desk: NOBODY,
    died: () => {},
  };
}

const NOBODY: Desk = {
  settings: () => ({}),
  secrets: () => [],
  configure: async () => {},
  described: () => {},
  updated: () => {},
  enqueue: async () => '',
};
