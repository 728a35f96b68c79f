/** Raw isolated-vm in a loop, nothing around it: `node --no-node-snapshot raw-loop.ts '{"seconds":…,"handler":…}'`. */
import { RawIsolate } from '../support/raw-isolate.ts';

const { seconds, handler, args, expect } = JSON.parse(process.argv[2] ?? '');
const isolate = new RawIsolate(handler);
const text = JSON.stringify(args);

let bad = 0;
function during(ms: number): number {
  const from = performance.now();
  let count = 0;
  for (; performance.now() - from < ms; count++) if (isolate.run(text) !== expect) bad += 1;
  return count / ((performance.now() - from) / 1000);
}

during(300);
process.stdout.write(JSON.stringify({ perSecond: during(seconds * 1000), bad }));
