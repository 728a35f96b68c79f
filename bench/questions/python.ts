import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Isopod, right } from '../support/isopod.ts';
import { BODY } from '../support/load.ts';
import { median, type OnceQuestion } from '../support/question.ts';

const PROGRAM = `import json, sys
args = json.load(sys.stdin)["args"]
json.dump({"output": {"name": args["name"], "total": sum(args["items"])}}, sys.stdout)
`;
const WHICH = 'import json, sys\njson.dump({"output": sys.executable}, sys.stdout)\n';
const MANIFEST = 'name: Bench\ninterface: raw\nexec: [python, "{pluginDir}/plugin.py"]\n';

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
    await using isopod = await Isopod.start(options, {
      bench: { 'plugin.yml': MANIFEST, 'plugin.py': PROGRAM },
      which: { 'plugin.yml': MANIFEST, 'plugin.py': WHICH },
    });
    // Not the one on PATH, which may be a script that looks for the real one first.
    const { output: interpreter } = JSON.parse((await isopod.call('which')).text) as { output: string };
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

async function alone(interpreter: string, file: string): Promise<number> {
  const startedAt = performance.now();
  const child = spawn(interpreter, [file], { stdio: ['pipe', 'pipe', 'ignore'] });
  child.stdin.end(BODY);
  child.stdout.resume();
  await once(child, 'close');
  return performance.now() - startedAt;
}
