/**
 * pg-boss alone: `pg-boss.ts '{"url":…,"count":…}'` sends so many, 16 at a time, and works them off meanwhile with a
 * handler that does nothing. As its documentation has it for many small jobs: batches, and no pause while they are full.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { PgBoss } from 'pg-boss';

const QUEUE = 'bench';
const AT_ONCE = 16;

const { url, count } = JSON.parse(process.argv[2] ?? '') as { url: string; count: number };
const boss = new PgBoss({ connectionString: url, max: 10, useListenNotify: true });
boss.on('error', (error) => process.stderr.write(`${error}\n`));
await boss.start();
await boss.createQueue(QUEUE, { notify: true });
let worked = 0;
await boss.work(QUEUE, { batchSize: 50, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 }, async (jobs) => {
  worked += jobs.length;
});
let left = count;
const startedAt = Date.now();
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    while (left-- > 0) await boss.send(QUEUE, {});
  }),
);
const sentMs = Date.now() - startedAt;
while (worked < count) await sleep(5);
// Including that it is written down.
await boss.stop({ graceful: true });
const ms = Date.now() - startedAt;
process.stdout.write(JSON.stringify({ perSecond: (count / ms) * 1_000, sentPerSecond: (count / sentMs) * 1_000 }));
