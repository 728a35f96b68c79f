import { setTimeout as sleep } from 'node:timers/promises';
import { COLD, python } from '../support/confinement.ts';
import { Isopod } from '../support/isopod.ts';
import { spread } from '../support/jobs.ts';
import { called, gone } from '../support/processes.ts';
import type { OnceQuestion } from '../support/question.ts';

/** Four processes, in three sessions, none of which ends when it is asked to. */
const STUBBORN = `import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
if os.fork() == 0: os.setsid()
elif os.fork() == 0:
    os.setsid()
    os.fork()
time.sleep(600)
`;
const PROCESSES = 4;
const PATIENCE_MS = 10_000;

/** From letting go of a call until the kernel knows nothing any more of what it started. Nobody is asked to end first. */
export const kill: OnceQuestion = {
  kind: 'once',
  name: 'kill',
  title: 'stubborn Python with children, from kill to gone, p50',
  unit: 'ms',
  async run(options) {
    await using isopod = await Isopod.start(
      options,
      { stubborn: python(STUBBORN) },
      { ...COLD, ISOPOD_PROCESSES_GRACE_MS: '0' },
    );
    const times: number[] = [];
    let note = '';
    for (let round = 0; round < (options.quick ? 10 : 40); round++) {
      const call = new AbortController();
      const answer = isopod.abandoned('stubborn', call.signal);
      const pids = await running();
      const startedAt = performance.now();
      call.abort();
      if (pids.length < PROCESSES || !(await gone(pids, PATIENCE_MS)))
        note ||= `round ${round}: ${pids.length} processes`;
      times.push(performance.now() - startedAt);
      await answer;
    }
    const { p50, p95 } = spread(times);
    const ok = note === '';
    return [
      { value: p50, ok, note },
      { title: 'the same, p95', value: p95, ok, note },
    ];
  },
};

/** All that runs of it, what confines it included. */
async function running(): Promise<number[]> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const isProgram = called('stubborn/program.py');
    if (isProgram.length >= PROCESSES || performance.now() > until) return isProgram;
    await sleep(20);
  }
}
