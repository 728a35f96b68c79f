/**
 * pg-boss alone: `pg-boss.ts '{"url":…,"count":…}'` sends so many, 16 at a time, and works them off meanwhile with a
 * handler that does nothing. The quickest way of those that it documents: batches, no pause while they are full, and no
 * notifications, which would hold up each send.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { PgBoss } from 'pg-boss';

const QUEUE = 'bench';
const AT_ONCE = 16;

const { url, count } = JSON.parse(process.argv[2] ?? '') as { url: string; count: number };
const boss = new PgBoss({ connectionString: url, max: 10 });
boss.on('error', (error) => process.stderr.write(`${error}\n`));
await boss.start();
await boss.createQueue(QUEUE);
const worker = await boss.work(
  QUEUE,
  { batchSize: 50, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 },
  async () => {},
);
const watch = new pg.Client(url);
await watch.connect();

let left = count;
const startedAt = performance.now();
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    while (left-- > 0) await boss.send(QUEUE, {});
  }),
);
const sentMs = performance.now() - startedAt;
for (;;) {
  // The last ones fill no batch, and need not wait for the clock.
  boss.notifyWorker(worker);
  const { rows } = await watch.query(`select from pgboss.job where state < 'completed' limit 1`);
  if (rows.length === 0) break;
  await sleep(10);
}
const ms = performance.now() - startedAt;
await watch.end();
await boss.stop({ graceful: false });
process.stdout.write(JSON.stringify({ perSecond: (count / ms) * 1_000, sentPerSecond: (count / sentMs) * 1_000 }));
