import { Failure } from '../core/failure.ts';

/**
 * What it means when the database refuses or goes away. Its codes:
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const SHUTTING_DOWN: ReadonlySet<string> = new Set(['57P01', '57P02', '57P03', '57P04', '57P05']);
/** The server ended a connection that sat in a transaction for too long. */
const SAT_TOO_LONG: ReadonlySet<string> = new Set(['25P03', '25P04']);
/** A server that has become a copy of another takes no changes any more: the other one has to be found. */
const READ_ONLY = '25006';
const CANCELLED = '57014';
const SERIALIZATION_FAILURE = '40001';
const DEADLOCK = '40P01';
/** Connection exceptions; and insufficient resources: connections, memory, disk. */
const CLASSES: ReadonlySet<string> = new Set(['08', '53']);
const DISK_FULL = '53100';

const AGAIN_MS = 1_000;
const SOON_MS = 100;

/** Whether the connection is of no use any more. */
export function isLoss(error: unknown): boolean {
  const code = codeOf(error);
  return code.startsWith('08') || SHUTTING_DOWN.has(code) || SAT_TOO_LONG.has(code) || code === READ_ONLY;
}

/** Whether others were at the same rows, so that the same transaction may go well the next time. */
export function isCollision(error: unknown): boolean {
  const code = codeOf(error instanceof Failure ? error.cause : error);
  return code === SERIALIZATION_FAILURE || code === DEADLOCK;
}

/** Nothing was sent yet. */
export function failureToConnect(cause: unknown): Failure {
  return unreachable(cause, true);
}

/** How many connections there are, how many are in use, and how many of those by the same. */
export type Shortfall = { most: number; inUse: number; own: number };

export function noConnectionFree({ most, inUse, own }: Shortfall): Failure {
  const words =
    inUse >= most
      ? `All ${most} connections to the database are in use`
      : `As many connections to the database are in use for this tenant as one may have: ${own} of ${most}`;
  return new Failure('overloaded', words, { retryable: true, retryAfterMs: AGAIN_MS });
}

/** `text` was sent. Gives the error back as it is where it is about the statement itself. */
export function failureToExecute(
  error: unknown,
  { text, isLost, inTransaction }: { text: string; isLost: boolean; inTransaction: boolean },
): unknown {
  const code = codeOf(error);
  // What the server says about a statement, and goes on, it says instead of having done it. And what was done in a
  // transaction that did not get as far as to be committed is undone.
  const undone = !isLost || code === READ_ONLY || (inTransaction ? !COMMIT.test(text) : BEGIN.test(text));
  if (isLost || CLASSES.has(code.slice(0, 2))) {
    if (code === DISK_FULL) return overloaded('The database has no room left', error, undone);
    return unreachable(error, undone);
  }
  if (code === CANCELLED) return overloaded('The database took too long', error, undone);
  if (isCollision(error)) return overloaded('Others changed the same at the same time', error, undone, SOON_MS);
  return error;
}

const BEGIN = /^\s*(?:begin|start)\b/i;
const COMMIT = /^\s*(?:commit|end|prepare)\b/i;

function unreachable(cause: unknown, retryable: boolean): Failure {
  return overloaded('The database cannot be reached', cause, retryable);
}

function overloaded(message: string, cause: unknown, retryable: boolean, retryAfterMs = AGAIN_MS): Failure {
  return new Failure('overloaded', message, { retryable, retryAfterMs, cause });
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown } | undefined)?.code ?? '');
}
