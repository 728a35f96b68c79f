/** What went wrong where a plugin did not answer as it should have, as far as we can know. */
import { setTimeout } from 'node:timers/promises';
import { Failure } from '../../core/failure.ts';
import type { Route, Visit } from '../../core/serving.ts';

/** Of a request at which its host says that the plugin has failed. */
export async function faultOf(visit: Visit): Promise<Failure> {
  return (await lately(visit)) ?? new Failure('plugin_error', 'The plugin has failed at this request');
}

/** Of a connection that has ended before there was an answer, or in the middle of one. */
export async function brokenOff(visit: Visit, error: Error): Promise<Failure> {
  if (error instanceof Failure) return error;
  const { code = '', message, name } = error as NodeJS.ErrnoException;
  // What its parser takes for granted of a server, e.g. of a status.
  if (name === 'HTTPParserError' || code === 'ERR_ASSERTION') return invalid('it is not HTTP', error);
  if (code === 'UND_ERR_HEADERS_OVERFLOW') return invalid('its header is too large', error);
  if (code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH') return invalid('its length is not what it says', error);
  if (code === 'UND_ERR_SOCKET' && message.startsWith('bad ')) return invalid('nobody has asked for it', error);
  if (!BROKEN.has(code)) return Failure.from(error);
  return (await lately(visit)) ?? invalid('the connection was closed before it was whole', error);
}

/** Of headers that are none as we may send them on. */
export function invalid(why: string, cause?: unknown): Failure {
  return new Failure('plugin_invalid_output', `The answer of the plugin cannot be passed on: ${why}`, { cause });
}

export function timedOut(silenceMs: number, observed: number): Failure {
  const limit = { name: 'sillytavern.silenceMs', allowed: silenceMs, observed, unit: 'ms' } as const;
  return new Failure('plugin_timeout', `Nothing has come from the plugin for ${silenceMs} ms`, { limit });
}

export function unrouted(plugin: string, asked: string, routes: readonly Route[]): Failure {
  const some = routes.slice(0, ROUTES_TOLD).map(({ method, path }) => `${method} ${path}`);
  const more = routes.length > ROUTES_TOLD ? [...some, `${routes.length - ROUTES_TOLD} more`] : some;
  const has = more.length === 0 ? '' : `; it has ${more.join(', ')}`;
  return new Failure('not_found', `Plugin "${plugin}" has no route for ${asked}${has}`);
}

const ROUTES_TOLD = 8;

const BROKEN: ReadonlySet<string> = new Set([
  'UND_ERR_SOCKET',
  'UND_ERR_DESTROYED',
  'UND_ERR_CLOSED',
  'ECONNRESET',
  'EPIPE',
]);

/** What a plugin did, and that its process has died, is told by another way, and may be known later. */
const LATE_MS = 1_000;
const LOOK_MS = 10;

async function lately(visit: Visit): Promise<Failure | null> {
  for (let waited = 0; ; waited += LOOK_MS) {
    const { failure, upstream } = visit;
    if (failure !== null) return failure;
    if (upstream.gone.aborted) return Failure.from(upstream.gone.reason);
    if (waited >= LATE_MS) return null;
    await setTimeout(LOOK_MS);
  }
}
