// A program in a room of its own finds its gateway at the port that it was told, from its first instruction on; with
// socat, and with the relay that stands in for it.
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { onPath } from '../../../src/confinement/on-path.ts';
import { MACHINE_TIERS, Trial } from '../../support/process.ts';
import { sessionOf } from '../../support/session.ts';

/** Quicker than any interpreter of ours: a shell that connects first of all. */
const CONNECTS = `
  exec 3<>/dev/tcp/127.0.0.1/9999; echo one >&3; read -r first <&3
  exec 3<>/dev/tcp/::1/9999; echo two >&3; read -r second <&3
  echo "{\\"output\\": \\"$first $second\\"}"`;

const hasRooms = MACHINE_TIERS.includes('bubblewrap');

test.runIf(hasRooms).each(['socat', 'ours'])('a native program is never too early for the relay: %s', async (relay) => {
  const bin = await mkdtemp(join(tmpdir(), 'isopod-relay-'));
  const path = process.env.PATH;
  for (const name of ['bwrap', 'setpriv', ...(relay === 'socat' ? ['socat'] : [])]) {
    await symlink((await onPath(name, path)) ?? '/nowhere', join(bin, name));
  }
  process.env.PATH = bin;
  await using trial = await Trial.start();
  process.env.PATH = path;
  const admitted: string[] = [];
  const session = {
    ...sessionOf({ graphql: async () => ({ status: 500, body: '' }) }),
    admit: (connection: NodeJS.ReadWriteStream) => {
      (connection as Socket).setEncoding('utf8').on('data', (text: string) => {
        admitted.push(text.trim());
        connection.end(`heard ${text}`);
      });
    },
  };
  for (let round = 0; round < (relay === 'socat' ? 8 : 3); round++) {
    const invocation = Object.assign(trial.invocation(['/bin/bash', '-c', CONNECTS], {}), { session });
    const outcome = await trial.runtime.run(invocation, AbortSignal.timeout(20_000));
    expect(outcome.ok ? outcome.output : outcome.failure).toBe('"heard one heard two"');
  }
  expect(new Set(admitted)).toEqual(new Set(['one', 'two']));
  await trial.assertNothingLeft();
  await rm(bin, { recursive: true });
});
