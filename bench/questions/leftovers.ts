import { mkdtemp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { COLD, PROGRAM, python } from '../support/confinement.ts';
import { Isopod } from '../support/isopod.ts';
import { called, lines, zombiesOf } from '../support/processes.ts';
import type { OnceQuestion, Options } from '../support/question.ts';

const AT_ONCE = 8;
/** A cold start takes about as long, so a call is let go of anywhere in it, or after it. */
const LATEST_MS = 80;
const PATIENCE_MS = 10_000;

/** A thousand programs are started, and let go of at any moment of that. Then it is counted what there is of them. */
export const leftovers: OnceQuestion = {
  kind: 'once',
  name: 'leftovers',
  title: 'what is left after a thousand programs were killed',
  unit: 'things',
  targets: [{ atMost: 0 }],
  async run(options) {
    const temporary = await mkdtemp(join(options.folder, 'temporary-'));
    const env = { ...COLD, TMPDIR: temporary };
    await using isopod = await Isopod.start(options, { shortlived: python(PROGRAM) }, env);
    for (let count = 0; count < AT_ONCE; count++) await isopod.call('shortlived');
    const before = await thingsOf(isopod.child.pid, temporary);
    const startedAt = performance.now();
    const ended = await startAndKill(isopod, options);
    const tookMs = performance.now() - startedAt;

    // What ends a run goes on for a moment after its caller has gone.
    const until = performance.now() + PATIENCE_MS;
    let left: string[] = [];
    do {
      await sleep(100);
      left = beyond(before, await thingsOf(isopod.child.pid, temporary));
    } while (left.length > 0 && performance.now() < until);
    const { status } = await isopod.call('shortlived');
    const note = `${ended} of them ended first, ${(tookMs / 1000).toFixed(0)} s`;
    return [{ value: left.length, ok: status === 200, note: left.length === 0 ? note : left.slice(0, 5).join(', ') }];
  },
};

async function startAndKill(isopod: Isopod, options: Options): Promise<number> {
  const rounds = options.quick ? 100 : 1000;
  let begun = 0;
  let ended = 0;
  const one = async () => {
    while (begun < rounds) {
      const round = begun++;
      const call = new AbortController();
      const answer = isopod.abandoned('shortlived', call.signal);
      await Promise.race([answer, sleep((round * 7) % LATEST_MS)]);
      call.abort();
      if (await answer) ended += 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  return ended;
}

/** Each by a name of its own: processes, mounts, sockets with a path, files. */
async function thingsOf(pid: number, temporary: string): Promise<string[]> {
  const mounts = lines(`/proc/${pid}/mountinfo`).map((line) => `mount ${line.split(' ')[4]}`);
  const sockets = lines('/proc/net/unix').map((line) => line.split(' ').slice(7).join(' '));
  const files = await readdir(temporary, { recursive: true });
  return [
    ...[...called('shortlived/program.py'), ...zombiesOf(pid)].map((one) => `process ${one}`),
    ...mounts,
    ...sockets.filter((path) => path.includes(temporary)).map((path) => `socket ${path}`),
    // A stock of pipes is kept at hand, now more and now fewer.
    ...files.filter((path) => !/\/pipe-\d+$/.test(path)).map((path) => `file ${path}`),
  ];
}

/** What there is more of than before. What is kept at hand is numbered, and other numbers of it are no more of it. */
function beyond(before: readonly string[], after: readonly string[]): string[] {
  const count = new Map<string, number>();
  const kindOf = (thing: string) => thing.replace(/\d+/g, '#');
  for (const thing of before) count.set(kindOf(thing), (count.get(kindOf(thing)) ?? 0) + 1);
  return after.filter((thing) => {
    const room = count.get(kindOf(thing)) ?? 0;
    count.set(kindOf(thing), room - 1);
    return room <= 0;
  });
}
