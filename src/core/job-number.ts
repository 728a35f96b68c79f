/**
 * Stash's clients know jobs by whole numbers. Ours are in the ids that jobs have anyway: of a UUID of version 7, the time
 * in ms and the 12 bits after it, which is why whoever makes ids makes no two alike in those (store/jobs/job-id.ts).
 */

const EPOCH_MS = Date.UTC(2024, 0, 1);
const EACH_MS = 4_096;

/** What is smaller is a number that an application has given to a job of its own. */
const OURS_FROM = 2 ** 40;

/** The number of a job. `id` is the UUID that it has here. */
export function numberOfJob(id: string): number {
  const ms = Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
  return (ms - EPOCH_MS) * EACH_MS + Number.parseInt(id.slice(15, 18), 16);
}

/** The number that a client has written; null where it is none. */
export function jobNumberIn(text: string): number | null {
  return /^\d{1,19}$/.test(text) ? Number(text) : null;
}

/** Whether it may be the number of a job of ours. */
export function isOurNumber(number: number): boolean {
  return number >= OURS_FROM && Number.isSafeInteger(number);
}

/** The ids that a job of this number may have: from the first to the last. */
export function idsNumbered(number: number): { first: string; last: string } {
  const ms = Math.floor(number / EACH_MS) + EPOCH_MS;
  const time = ms.toString(16).padStart(12, '0');
  const rest = (number % EACH_MS).toString(16).padStart(3, '0');
  const head = `${time.slice(0, 8)}-${time.slice(8)}-7${rest}`;
  return { first: `${head}-8000-000000000000`, last: `${head}-bfff-ffffffffffff` };
}
