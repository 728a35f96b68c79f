import { randomBytes, randomInt } from 'node:crypto';

/** Of the 12 bits after the time, a new ms begins somewhere in the lower half, so that there is room to count. */
const COUNTS = 4_096;

/**
 * UUIDs of version 7: in order of time, so that an index grows at its end and a list is in order. They say when the job
 * was made even after the job is gone. Those that are made in the same ms count on in the bits after it, so that no two
 * have the same number for those who want numbers (core/job-number.ts), and those that are made later come later.
 * https://www.rfc-editor.org/rfc/rfc9562#name-monotonicity-and-counters
 */
export class JobIds {
  #ms = 0;
  #count = 0;

  next(now: number): string {
    if (now > this.#ms) {
      this.#ms = now;
      this.#count = randomInt(COUNTS / 2);
    } else {
      this.#count += 1;
      // Nobody makes so many; but then the next ms is taken for begun.
      if (this.#count === COUNTS) {
        this.#ms += 1;
        this.#count = 0;
      }
    }
    const bytes = randomBytes(16);
    bytes.writeUIntBE(this.#ms, 0, 6);
    bytes.writeUInt16BE(0x7000 | this.#count, 6);
    bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
    const hex = bytes.toString('hex');
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
  }
}

/** One by itself: its place among others of the same ms is chance. */
export function newJobId(now: number): string {
  return new JobIds().next(now);
}

/** Before all that are made from then on. */
export function firstIdAt(ms: number): string {
  const time = Math.max(0, Math.floor(ms)).toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-000000000000`;
}

const JOB_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** When it was made, in ms since 1970; null for what is no id of a job. */
export function madeAt(id: string): number | null {
  return JOB_ID.test(id) ? Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16) : null;
}
