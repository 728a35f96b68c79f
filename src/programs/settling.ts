import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Resolves when nothing will come any more. */
export function closed(socket: Socket, onData: (chunk: Buffer) => void): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  socket
    .on('error', () => {})
    .on('data', onData)
    .once('close', () => resolve());
  return promise;
}

/** Resolves with the first of them, or when the time is over. */
export async function within<T>(ms: number, ...awaited: Promise<T>[]): Promise<T | null> {
  const patience = new AbortController();
  const enough = sleep(ms, null, { signal: patience.signal }).catch(() => null);
  try {
    return await Promise.race([...awaited, enough]);
  } finally {
    patience.abort();
  }
}
