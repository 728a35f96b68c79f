import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { alone, COLD, interpreterOf, PROGRAM, python, UNCONFINED, which } from '../support/confinement.ts';
import { Isopod, right } from '../support/isopod.ts';
import { median, type OnceQuestion } from '../support/question.ts';

/** One program, in turns: confined by a service, by a service that does not confine, and by itself. Cold in every call. */
export const confined: OnceQuestion = {
  kind: 'once',
  name: 'confined',
  title: 'raw Python, confined and cold, against the same spawned',
  unit: '×',
  targets: [{ atMost: 1.3 }],
  async run(options) {
    const file = join(options.folder, 'alone.py');
    await writeFile(file, PROGRAM);
    const plugins = { bench: python(PROGRAM), which };
    await using best = await Isopod.start(options, plugins, COLD);
    await using least = await Isopod.start(options, plugins, { ...COLD, ...UNCONFINED });
    const interpreter = await interpreterOf(best);
    const times = { confined: [] as number[], unconfined: [] as number[], alone: [] as number[] };
    let wrong = '';
    for (let round = -3; round < (options.quick ? 15 : 60); round++) {
      const [confined, unconfined] = [await best.call('bench'), await least.call('bench')];
      const ms = await alone(interpreter, file);
      for (const answer of [confined, unconfined]) {
        if (!right({ ...answer, text: answer.text.replace(/ /g, '') })) wrong ||= answer.text;
      }
      if (round < 0) continue;
      times.confined.push(confined.ms);
      times.unconfined.push(unconfined.ms);
      times.alone.push(ms);
    }
    const [ours, theirs, spawned] = [median(times.confined), median(times.unconfined), median(times.alone)];
    const ok = wrong === '';
    return [
      { value: ours / spawned, ok, note: ok ? `${ours.toFixed(1)} and ${spawned.toFixed(1)} ms` : `WRONG: ${wrong}` },
      { title: 'the same, against a service that does not confine', value: ours / theirs, ok },
    ];
  },
};
