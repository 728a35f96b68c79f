import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { identityOf } from '../../src/confinement/identity.ts';
import { ResidentTrial } from '../support/residents.ts';
import { ServerTrial } from '../support/servers.ts';

test('whom a program runs as is the same at every start, and nobody works it out without the key', async () => {
  const key = randomBytes(32);
  expect(identityOf(Buffer.from(key), 'acme', 'p')).toBe(identityOf(key, 'acme', 'p'));
  const names = Array.from({ length: 20 }, (_, at) => `p${at}`);
  const other = randomBytes(32);
  const numbers = [key, other].map((one) => names.map((name) => identityOf(one, 'acme', name)));
  expect(numbers[0]).not.toEqual(numbers[1]);
  const unkeyed = createHash('sha256').update('acme\0p').digest().readUInt32BE(0) % 0x2000_0000;
  expect(identityOf(key, 'acme', 'p') - 0x5000_0000).not.toBe(unkeyed);
  expect(Math.min(...numbers.flat())).toBeGreaterThanOrEqual(0x5000_0000);
  expect(Math.max(...numbers.flat())).toBeLessThan(0x7000_0000);
});

test.runIf(process.getuid?.() === 0)(
  'what belongs to an older number is handed over with all that is in it',
  async () => {
    const key = randomBytes(32);
    await using trial = await ResidentTrial.start({ identityKey: () => key });
    expect((await trial.run('everything', 'count')).ok).toBe(true);
    await trial.runtime.residents.stop('tenant', 'everything', 'shutdown');
    const home = join(trial.folder, 'tenant', 'everything');
    const inside = join(home, 'data', 'a', 'b');
    await mkdir(inside, { recursive: true });
    await writeFile(join(inside, 'kept'), '');
    execFileSync('chown', ['-R', '12345:12345', home]);
    expect((await trial.run('everything', 'count')).ok).toBe(true);
    const number = identityOf(key, 'tenant', 'everything');
    for (const path of [
      join(home, 'data'),
      inside,
      join(inside, 'kept'),
      join(home, 'code', 'everything', 'plugin.py'),
    ]) {
      expect((await stat(path)).uid).toBe(number);
    }
  },
);

test('whom a server runs as may be decided anew while it is started: it reaches what was made for it', async () => {
  // As when the service has just found out what users are worked out from.
  await using trial = await ServerTrial.start({ identityKey: () => randomBytes(32) });
  expect((await trial.ask('hello.cjs', '/api/plugins/example/foo')).text).toBe('bar');
});
