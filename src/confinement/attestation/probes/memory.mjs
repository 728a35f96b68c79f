/** The same as memory.py, where there is no Python. */
import { setTimeout as sleep } from 'node:timers/promises';

const most = Number(process.argv.at(-1));
const held = [];
let refused = false;
while (held.length < most / 4 && !refused) {
  try {
    held.push(Buffer.alloc(4 << 20, 'x'));
  } catch {
    refused = true;
  }
  await sleep(1);
}
if (!refused) await sleep(1500);
process.stdout.write(`${JSON.stringify({ output: { mb: 4 * held.length, refused } })}\n`);
