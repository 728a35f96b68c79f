import { type JobWish, wishFor } from '../../core/job.ts';
import type { Schedule } from '../../core/schedule.ts';
import type { Tx } from '../database.ts';
import type { Adder } from './adder.ts';
import type { Herald } from './herald.ts';
import type { News } from './news.ts';
import { scheduleOf } from './schedules.ts';
import { dueTimes } from './times.ts';

/** Schedules that are looked at in one go. */
const TICK_MOST = 50;

/**
 * Makes the jobs of all schedules whose time has come. Each node calls it; a schedule that one of them looks at is
 * passed over by the others, and its next time is written down together with the jobs. Each is a transaction of its
 * own: what is wrong with one holds up no other. Gives how many there were.
 */
export async function tick(herald: Herald, adder: Adder, now: Date): Promise<number> {
  for (let count = 0; count < TICK_MOST; count += 1) {
    if (!(await herald.during((tx, news) => tickOne(tx, news, adder, now)))) return count;
  }
  return TICK_MOST;
}

async function tickOne(tx: Tx, news: News, adder: Adder, now: Date): Promise<boolean> {
  const row = await tx
    .selectFrom('schedules')
    .selectAll()
    .where('enabled', '=', true)
    .where('next_at', '<=', now)
    .orderBy('next_at')
    .limit(1)
    .forUpdate()
    .skipLocked()
    .executeTakeFirst();
  if (row === undefined) return false;
  const schedule = scheduleOf(row);
  const { due, next } = timesOf(schedule, now);
  const wishes = due.map((dueAt) => wishOf(schedule, dueAt));
  const last = (await adder.addIn(tx, news, row.tenant, wishes)).at(-1);
  await tx
    .updateTable('schedules')
    .set({ next_at: next, ...(last === undefined ? {} : { last_at: due.at(-1) ?? null, last_job: last.id }) })
    .where('tenant', '=', row.tenant)
    .where('id', '=', row.id)
    .execute();
  return true;
}

/** One whose timetable cannot be read any more, by a newer version say, is never due again. */
function timesOf(schedule: Schedule, now: Date): { due: Date[]; next: Date | null } {
  try {
    return dueTimes(schedule, schedule.nextAt ?? now, now, schedule.missed);
  } catch {
    return { due: [], next: null };
  }
}

function wishOf({ id, request, priority, retries }: Schedule, dueAt: Date): JobWish {
  return wishFor(request, { priority, retries, cause: { schedule: id, dueAt: dueAt.toISOString() } });
}
