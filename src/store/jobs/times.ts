import { CronExpressionParser } from 'cron-parser';
import { Failure } from '../../core/failure.ts';
import type { Missed } from '../../core/schedule.ts';

/** Times that are made up for at most. */
const MISSED_MOST = 100;
/** Whoever is later than this has missed it. */
const LATE_MS = 60_000;

export type Timetable = { cron: string; timeZone: string };

/** The next times after `from`. Throws `invalid_request` for a timetable that is none. */
export function nextTimes({ cron, timeZone }: Timetable, from: Date, count: number): Date[] {
  const fields = cron.trim().split(/\s+/);
  if (fields.length !== 5) {
    const words = 'A schedule has five fields: minute, hour, day of month, month, day of week';
    throw new Failure('invalid_request', words, { where: [{ at: '/cron', problem: `${fields.length} fields` }] });
  }
  // Its letter H means another time at each reading.
  const odd = fields.find((field) => !FIELD.test(field));
  if (odd !== undefined) {
    const problem = `"${odd.slice(0, 50)}": a field has numbers, * , - / and the first three letters of days and months`;
    throw new Failure('invalid_request', 'The schedule cannot be read', { where: [{ at: '/cron', problem }] });
  }
  if (!isTimeZone(timeZone)) {
    const problem = 'no time zone of the IANA database, such as Europe/Berlin or UTC';
    throw new Failure('invalid_request', `There is no time zone "${timeZone}"`, {
      where: [{ at: '/timeZone', problem }],
    });
  }
  try {
    const times = CronExpressionParser.parse(fields.join(' '), { currentDate: from, tz: timeZone });
    return Array.from({ length: count }, () => times.next().toDate());
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    throw new Failure('invalid_request', `The schedule cannot be read, or never comes: ${problem}`, {
      where: [{ at: '/cron', problem }],
    });
  }
}

/** The times to run for now, of those from `dueAt` on that have come; and the one after them. */
export function dueTimes(
  timetable: Timetable,
  dueAt: Date,
  now: Date,
  missed: Missed,
): { due: Date[]; next: Date | null } {
  const [next = null] = nextTimes(timetable, now, 1);
  // The last of them: walked back from now, so that a year of minutes costs no more than an hour of them.
  const passed: Date[] = [];
  const times = CronExpressionParser.parse(timetable.cron, {
    currentDate: new Date(now.getTime() + 1),
    tz: timetable.timeZone,
  });
  while (passed.length < MISSED_MOST) {
    const time = times.prev().toDate();
    if (time < dueAt) break;
    passed.unshift(time);
  }
  if (passed.length === 0) passed.push(dueAt);
  const newest = passed.at(-1) ?? dueAt;
  if (missed === 'all') return { due: passed, next };
  if (missed === 'once') return { due: [newest], next };
  return { due: now.getTime() - newest.getTime() <= LATE_MS ? [newest] : [], next };
}

const FIELD = /^(?:\d{1,4}|\*|[,/-]|mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)+$/i;

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
