import { setTimeout as sleep } from 'node:timers/promises';
import { COLD, PROGRAM, python } from '../support/confinement.ts';
import { Isopod, right } from '../support/isopod.ts';
import { spread } from '../support/jobs.ts';
import { median, type OnceQuestion } from '../support/question.ts';

/** Until the next one is parked: it has to start, and nobody tells when it has. */
const PAUSE_MS = 400;

/** One program, confined: by a service that has it started already when it is called, and by one that has not. */
export const parked: OnceQuestion = {
  kind: 'once',
  name: 'parked',
  title: 'raw Python, confined: parked against cold',
  unit: '×',
  targets: [{ atMost: 0.05 }],
  async run(options) {
    const plugins = { bench: python(PROGRAM) };
    await using ready = await Isopod.start(options, plugins);
    await using late = await Isopod.start(options, plugins, COLD);
    const times = { parked: [] as number[], cold: [] as number[] };
    let wrong = '';
    for (let round = -5; round < (options.quick ? 10 : 40); round++) {
      const cold = await late.call('bench');
      await sleep(PAUSE_MS);
      const parked = await ready.call('bench');
      for (const answer of [parked, cold]) {
        if (!right({ ...answer, text: answer.text.replace(/ /g, '') })) wrong ||= answer.text;
      }
      if (round < 0) continue;
      times.parked.push(parked.ms);
      times.cold.push(cold.ms);
    }
    const { p50, p95 } = spread(times.parked);
    const ok = wrong === '';
    const note = `${p50.toFixed(2)} (p95 ${p95.toFixed(2)}) and ${median(times.cold).toFixed(1)} ms`;
    return [{ value: p50 / median(times.cold), ok, note: ok ? note : `WRONG: ${wrong}` }];
  },
};
