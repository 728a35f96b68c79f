/** The same as forks.py, where there is no Python. */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

const most = Number(process.argv.at(-1));
const children = [];
let refused = null;
while (children.length < most && refused === null) {
  try {
    const child = spawn('/bin/sleep', ['10'], { stdio: 'ignore' });
    child.on('error', (error) => {
      refused ??= error.code;
    });
    children.push(child);
  } catch (error) {
    refused = error.code ?? 'refused';
  }
  if (children.length % 16 === 0) await sleep(0);
}
if (refused === null) await sleep(1500);
for (const child of children) child.kill('SIGKILL');
const count = children.filter(({ pid }) => pid !== undefined).length;
process.stdout.write(`${JSON.stringify({ output: { count, refused } })}\n`, () => process.exit(0));
