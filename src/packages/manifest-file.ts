import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** Thrown for a file that we do not read, with the reason in words. */
export class Unreadable extends Error {
  override readonly name = 'Unreadable';
}

/**
 * The bytes of a regular file of at most `mostBytes`. What it is was looked at before, but somebody may have
 * put something else there since: so it is opened without following a link or waiting for the other end of a
 * FIFO, and looked at again.
 */
export async function readManifestFile(realPath: string, mostBytes: number): Promise<Uint8Array> {
  await using file = await open(realPath, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  const stats = await file.stat();
  if (!stats.isFile()) throw new Unreadable('it is not a regular file');
  if (stats.size > mostBytes) throw tooLarge(mostBytes);

  // One byte more than its size: if that is filled, it is growing under our hands.
  const buffer = new Uint8Array(stats.size + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  if (length > mostBytes) throw tooLarge(mostBytes);
  if (length === buffer.length) throw new Unreadable('it was being written while we read it; reload when it is done');
  return buffer.slice(0, length);
}

function tooLarge(mostBytes: number): Unreadable {
  return new Unreadable(`a manifest may be ${mostBytes} bytes long at most, and this one is longer`);
}
