import { setTimeout as sleep } from 'node:timers/promises';
import { type Files, Isopod, right, SERVER, SERVING } from '../support/isopod.ts';
import { BODY } from '../support/load.ts';
import { sharedOutMb } from '../support/memory.ts';
import { median, type OnceQuestion } from '../support/question.ts';

/** Enabled one after the other, and asked at once; what is enabled answers when it is up. */
export const servers: OnceQuestion = {
  kind: 'once',
  name: 'servers',
  title: 'a server plugin (Node), from being enabled to its first answer, median',
  unit: 'ms',
  targets: [{ atMost: 500 }],
  async run(options) {
    const count = options.quick ? 5 : 15;
    const ids = Array.from({ length: count }, (_, index) => `serves${index}`);
    const plugins = Object.fromEntries(ids.map((id) => [id, called(id)]));
    await using isopod = await Isopod.start(options, plugins, SERVING);
    await sleep(1_000);
    const before = sharedOutMb(isopod.child.pid).ours;
    const times: number[] = [];
    const again: number[] = [];
    let wrong = '';
    const ask = async (id: string) => {
      const answer = await isopod.ask('POST', `/api/plugins/${id}/`, BODY);
      if (!right(answer)) wrong ||= answer.text.slice(0, 300);
      return answer.ms;
    };
    for (const id of ids) {
      const startedAt = performance.now();
      await isopod.trust(id);
      await ask(id);
      times.push(performance.now() - startedAt);
      again.push(await ask(id));
    }
    await sleep(1_000);
    const each = (sharedOutMb(isopod.child.pid).ours - before) / count;
    const ok = wrong === '';
    const said = `slowest ${Math.max(...times).toFixed(0)} ms of ${count}; the second answer ${median(again).toFixed(1)} ms`;
    return [
      { value: median(times), ok, note: ok ? said : `WRONG: ${wrong}` },
      {
        title: 'resident memory for each of them',
        unit: 'MB',
        value: each,
        ok,
        note: 'with its launcher and its relay; what processes share is counted once',
        targets: [{ atMost: 60 }],
      },
    ];
  },
};

/** Its address is what its code calls it. */
function called(id: string): Files {
  return Object.fromEntries(Object.entries(SERVER).map(([name, text]) => [name, text.replace("'bench'", `'${id}'`)]));
}
