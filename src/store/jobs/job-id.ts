import { randomBytes } from 'node:crypto';

/**
 * A UUID of version 7: in order of time, so that an index grows at its end and a list is in order. It says when the job
 * was made even after the job is gone. https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7
 */
export function newJobId(now: number): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(now, 0, 6);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x70;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

const JOB_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** When it was made, in ms since 1970; null for what is no id of a job. */
export function madeAt(id: string): number | null {
  return JOB_ID.test(id) ? Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16) : null;
}
