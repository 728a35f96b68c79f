import { setTimeout as sleep } from 'node:timers/promises';
import { Isopod, RESIDENT } from '../support/isopod.ts';
import { sharedOutMb } from '../support/memory.ts';
import { median, type OnceQuestion } from '../support/question.ts';

/** Enabled one after the other, through the door that their users know; what is enabled is up with the answer. */
export const residents: OnceQuestion = {
  kind: 'once',
  name: 'residents',
  title: 'start of a plugin that stays (Python), median',
  unit: 'ms',
  targets: [{ atMost: 150 }],
  async run(options) {
    const count = options.quick ? 5 : 15;
    const ids = Array.from({ length: count }, (_, index) => `stays${index}`);
    await using isopod = await Isopod.start(options, Object.fromEntries(ids.map((id) => [id, RESIDENT])));
    await sleep(1_000);
    const before = sharedOutMb(isopod.child.pid).ours;
    const times: number[] = [];
    let wrong = '';
    for (const id of ids) {
      const answer = await isopod.enable(id);
      times.push(answer.ms);
      if (!answer.text.includes('"loaded":true')) wrong ||= answer.text.slice(0, 300);
    }
    await sleep(1_000);
    const each = (sharedOutMb(isopod.child.pid).ours - before) / count;
    const said = wrong === '' ? `slowest ${Math.max(...times).toFixed(0)} ms of ${count}` : `WRONG: ${wrong}`;
    return [
      { value: median(times), ok: wrong === '', note: said },
      {
        title: 'resident memory for each of them',
        unit: 'MB',
        value: each,
        ok: wrong === '',
        note: 'with its launcher and its relay; what processes share is counted once',
        targets: [{ atMost: 20 }],
      },
    ];
  },
};
