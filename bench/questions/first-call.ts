import { setTimeout as sleep } from 'node:timers/promises';
import { HANDLER, Isopod, right, script } from '../support/isopod.ts';
import { median, type OnceQuestion } from '../support/question.ts';

/** The service is warm and has a spare executor; the plugin is not known. */
export const firstCall: OnceQuestion = {
  kind: 'once',
  name: 'first-call',
  title: 'first call of a plugin never seen, median',
  unit: 'ms',
  targets: [{ atMost: 10 }],
  async run(options) {
    const count = options.quick ? 20 : 50;
    const ids = Array.from({ length: count }, (_, index) => `first${index}`);
    // No two sources are the same, so that no cache of code helps.
    const plugins = Object.fromEntries(ids.map((id) => [id, script(`// ${id}\n${HANDLER}`)]));
    await using isopod = await Isopod.start(options, { warm: script(HANDLER), ...plugins });
    await isopod.warm('warm', 'a frozen realm');
    await sleep(1000);
    const times: number[] = [];
    const wrong: string[] = [];
    for (const id of ids) {
      const answer = await isopod.call(id);
      times.push(answer.ms);
      if (!right(answer)) wrong.push(answer.text);
      await sleep(40);
    }
    const worst = `of ${count} plugins; slowest ${Math.max(...times).toFixed(1)} ms`;
    const said = wrong.length === 0 ? '' : `${wrong.length} answers WRONG, e.g. ${wrong[0]?.slice(0, 300)}; `;
    return [{ value: median(times), ok: wrong.length === 0, note: said + worst }];
  },
};
