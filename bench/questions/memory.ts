import { setTimeout as sleep } from 'node:timers/promises';
import { HANDLER, Isopod, right, script } from '../support/isopod.ts';
import { treeMb } from '../support/memory.ts';
import type { OnceQuestion } from '../support/question.ts';

/** Embedded plugins, each called once: front end and executors together, before and after. */
export const memory: OnceQuestion = {
  kind: 'once',
  name: 'memory',
  title: 'resident memory for each of 1,000 embedded plugins',
  unit: 'KB',
  async run(options) {
    const count = options.quick ? 200 : 1000;
    const ids = Array.from({ length: count }, (_, index) => `plugin${index}`);
    const plugins = Object.fromEntries(ids.map((id) => [id, script(`// ${id}\n${HANDLER}`)]));
    await using isopod = await Isopod.start(options, plugins);
    await sleep(1500);
    const before = treeMb(isopod.child.pid);
    let bad = 0;
    let example = '';
    for (const id of ids) {
      const answer = await isopod.call(id);
      if (right(answer)) continue;
      bad += 1;
      example ||= answer.text;
    }
    await sleep(1500);
    const after = treeMb(isopod.child.pid);
    const mb = `${count} plugins: ${before.toFixed(0)} MB before, ${after.toFixed(0)} MB after`;
    return [
      {
        value: ((after - before) * 1024) / count,
        ok: bad === 0,
        note: bad === 0 ? mb : `${bad} answers WRONG; ${mb}; e.g. ${example}`,
      },
    ];
  },
};
