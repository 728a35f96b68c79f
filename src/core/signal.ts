import { Failure } from './failure.ts';

/** Calls `stop` when the signal aborts, or at once when it has. Leaving the scope takes it back. */
export function onAbort(signal: AbortSignal, stop: (reason: Failure) => void): Disposable {
  const abort = () => stop(Failure.from(signal.reason));
  if (signal.aborted) abort();
  else signal.addEventListener('abort', abort, { once: true });
  return { [Symbol.dispose]: () => signal.removeEventListener('abort', abort) };
}
