import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { alone, COLD, interpreterOf, python as programIn, which } from '../support/confinement.ts';
import { Isopod, right } from '../support/isopod.ts';
import { median, type OnceQuestion } from '../support/question.ts';

const PROGRAM = `import json, sys
args = json.load(sys.stdin)["args"]
json.dump({"output": {"name": args["name"], "total": sum(args["items"])}}, sys.stdout)
`;

/** A raw plugin is cold in every call: a tree of processes for each. In turns with python3 by itself. */
export const python: OnceQuestion = {
  kind: 'once',
  name: 'python',
  title: 'isopod, raw Python, cold, median',
  unit: 'ms',
  async run(options) {
    const count = options.quick ? 10 : 30;
    const file = join(options.folder, 'plain.py');
    await writeFile(file, PROGRAM);
    await using isopod = await Isopod.start(options, { bench: programIn(PROGRAM), which }, COLD);
    const interpreter = await interpreterOf(isopod);
    const ours: number[] = [];
    const plain: number[] = [];
    let bad = 0;
    let example = '';
    for (let round = -2; round < count; round++) {
      const answer = await isopod.call('bench');
      // Python writes a space after a colon; isopod gives what it was given.
      if (!right({ ...answer, text: answer.text.replace(/ /g, '') })) {
        bad += 1;
        example ||= answer.text;
      }
      const ms = await alone(interpreter, file);
      if (round < 0) continue;
      ours.push(answer.ms);
      plain.push(ms);
    }
    const by = median(ours) - median(plain);
    return [
      {
        value: median(ours),
        ok: bad === 0,
        note: bad === 0 ? `${by.toFixed(1)} ms above python3 by itself` : `${bad} answers WRONG, e.g. ${example}`,
      },
      { title: 'the same Python by itself, spawned, median', value: median(plain), ok: true },
    ];
  },
};
