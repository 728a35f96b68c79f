import { Failure, type LimitHit } from '../../src/core/failure.ts';
import type { Portrait } from '../../src/core/portrait.ts';
import { cut } from '../../src/core/text.ts';
import type { FrameOf, GuestError } from './heard.ts';
import { UNASKED_MOST } from './wire.ts';

/** What a plugin says of itself, as it can be kept anywhere. Its id is looked at by whoever gives addresses. */
export function portrayedBy({ info, routes }: FrameOf<'ready'>): Portrait {
  return {
    name: kept(info.name, NAME_LETTERS),
    version: '',
    description: kept(info.description, TEXT_LETTERS),
    author: '',
    helpUrl: '',
    fields: [],
    actions: [],
    serves: {
      id: kept(info.id, NAME_LETTERS),
      routes: routes.map(({ method, path }) => ({
        method: kept(method, METHOD_LETTERS),
        path: kept(path, PATH_LETTERS),
      })),
    },
  };
}

export type Ending = { first: GuestError } | { death: Failure } | { fault: FrameOf<'fault'> };

/** Why there is no such process: it was never up, or has lost itself. */
export function ended(how: Ending): Failure {
  if ('first' in how) {
    const pluginError = pluginErrorOf(how.first);
    return new Failure('plugin_boot_failed', 'The code of the plugin could not be loaded', { pluginError });
  }
  if ('fault' in how) {
    const pluginError = pluginErrorOf(how.fault.error);
    return new Failure('plugin_crashed', LOST[how.fault.kind], { pluginError });
  }
  const { death } = how;
  if (death.code !== 'plugin_crashed') return death;
  return new Failure('plugin_boot_failed', `${death.message}, before its code was loaded`, death.details);
}

const LOST = {
  handler: 'Its process ended after a handler failed',
  uncaught: 'Its process ended, as it threw an error that nobody caught',
  rejection: 'Its process ended, as a promise that nobody waited for was rejected',
} as const;

/** V8 has looked for what can be thrown away, and given up. */
export function heapFull(bytes: number): Failure {
  const limit: LimitHit = { name: 'residentMb', allowed: bytes, observed: bytes, unit: 'bytes' };
  return new Failure('plugin_memory_exceeded', 'Filled its JavaScript heap, which has 60 % of residentMb', {
    limit,
  });
}

export function tooManyConnections(observed: number): Failure {
  const limit: LimitHit = { name: 'connections', allowed: UNASKED_MOST, observed, unit: 'count' };
  return new Failure('plugin_resource_exceeded', 'Connects to its host again and again without being asked', { limit });
}

export function blocked(allowed: number, observed: number): Failure {
  const limit: LimitHit = { name: 'sillytavern.blockedMs', allowed, observed: Math.round(observed), unit: 'ms' };
  return new Failure('plugin_timeout', 'Its event loop is blocked: it answered nothing at all', { limit });
}

/** It says so itself, so it may be of any length. */
export function pluginErrorOf({ name, message, stack }: GuestError) {
  return { name: cut(name, 256), message: cut(message, 8_192), stack: cut(stack, 32_768) };
}

/** Without what jsonb refuses: NUL, and halves of characters. */
function kept(text: string, most: number): string {
  return cut(text, most - 1)
    .replaceAll('\0', '')
    .toWellFormed();
}

const NAME_LETTERS = 255;
const TEXT_LETTERS = 16 * 1024;
const METHOD_LETTERS = 32;
const PATH_LETTERS = 500;
