import type { JobWish } from '../../core/job.ts';
import type { Adder } from './adder.ts';
import type { Herald } from './herald.ts';
import { scheduleOf } from './schedules.ts';
import { dueTimes } from './times.ts';

/** Schedules that are looked at in one go. */
const TICK_MOST = 50;

/**
 * Makes the jobs of all schedules whose time has come. Each node calls it; a schedule that one of them looks at is
 * passed over by the others, and its next time is written down together with the jobs. Gives how many there were.
 */
export async function tick(herald: Herald, adder: Adder, now: Date): Promise<number> {
  return await herald.during(async (tx, news) => {
    const rows = await tx
      .selectFrom('schedules')
      .selectAll()
      .where('enabled', '=', true)
      .where('next_at', '<=', now)
      .orderBy('next_at')
      .limit(TICK_MOST)
      .forUpdate()
      .skipLocked()
      .execute();
    for (const row of rows) {
      const schedule = scheduleOf(row);
      const { due, next } = dueTimes(schedule, schedule.nextAt ?? now, now, schedule.missed);
      const jobs = await adder.addIn(
        tx,
        news,
        row.tenant,
        due.map(
          (dueAt): JobWish => ({
            request: schedule.request,
            priority: schedule.priority,
            retries: schedule.retries,
            start: { delayMs: 0 },
            singleton: null,
            debounce: null,
            idempotency: null,
            cause: { schedule: schedule.id, dueAt: dueAt.toISOString() },
          }),
        ),
      );
      const last = jobs.at(-1);
      await tx
        .updateTable('schedules')
        .set({ next_at: next, ...(last === undefined ? {} : { last_at: due.at(-1) ?? null, last_job: last.id }) })
        .where('tenant', '=', row.tenant)
        .where('id', '=', row.id)
        .execute();
    }
    return rows.length;
  });
}
