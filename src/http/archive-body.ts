import type { IncomingMessage } from 'node:http';
import type { FastifyRequest } from 'fastify';
import { Failure } from '../core/failure.ts';

/** What archives are sent as. */
export const ARCHIVE_TYPES = ['application/zip', 'application/x-zip-compressed', 'application/octet-stream'];

/** A body that says that it is too large, before any of it is read. */
export function assertFits({ headers }: FastifyRequest, most: number): void {
  const told = Number(headers['content-length'] ?? 0);
  if (told > most) throw tooLarge(most, told);
}

/** The bytes of a body, in memory that is not shared with anything: they are handed over to a thread. */
export async function readArchive({ headers }: FastifyRequest, body: IncomingMessage, most: number): Promise<Buffer> {
  const told = headers['content-length'];
  // The socket stays: there is something to say to whoever sends too much.
  const chunks: AsyncIterable<Buffer> = body.iterator({ destroyOnReturn: false });
  try {
    return told === undefined ? await untold(chunks, most) : await exactly(chunks, Number(told));
  } catch (error) {
    body.resume();
    throw error instanceof Failure ? error : new Failure('cancelled', 'The caller went away', { cause: error });
  }
}

async function exactly(chunks: AsyncIterable<Buffer>, length: number): Promise<Buffer> {
  const archive = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for await (const chunk of chunks) at += chunk.copy(archive, at);
  if (at === length) return archive;
  throw new Failure('invalid_request', `The body has ${at} bytes, and its header says ${length}`);
}

/** Throws `payload_too_large` for more than `most`. */
export async function untold(chunks: AsyncIterable<Buffer>, most: number): Promise<Buffer> {
  let archive = Buffer.allocUnsafeSlow(Math.min(FIRST_BYTES, most));
  let length = 0;
  for await (const chunk of chunks) {
    if (length + chunk.length > most) throw tooLarge(most, length + chunk.length);
    if (length + chunk.length > archive.length) {
      const larger = Buffer.allocUnsafeSlow(Math.min(most, Math.max(archive.length * 2, length + chunk.length)));
      archive.copy(larger, 0, 0, length);
      archive = larger;
    }
    length += chunk.copy(archive, length);
  }
  return archive.subarray(0, length);
}

const FIRST_BYTES = 1024 * 1024;

function tooLarge(most: number, observed: number): Failure {
  const limit = { name: 'packages.archiveBytes', allowed: most, observed, unit: 'bytes' } as const;
  return new Failure('payload_too_large', `The archive is larger than ${most} bytes`, { limit });
}
