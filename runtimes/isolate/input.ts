import { Failure } from '../../src/core/failure.ts';
import { type Invocation, serverConnection } from '../../src/core/invocation.ts';
import type { Program } from './program.ts';

/** What is shorter than this, in letters, needs no second look. */
export const LIGHT_INPUT = 64 * 1024;

/** Roughly what V8 needs for a list or an object, and for what is in one. */
const CONTAINER_BYTES = 56;
const MEMBER_BYTES = 16;

/**
 * The text that becomes `input`: capital letters, as goja shows Go's fields. What is the same in every run of a
 * program, all but the cookie and the arguments, is written once.
 */
export function inputText(program: Program, invocation: Invocation): string {
  const { id, endpoint, plugin } = invocation;
  if (program.connection === undefined) {
    // Embedded code cannot send a cookie anywhere, so it is shown none that opens anything.
    const [before, after] = JSON.stringify(serverConnection(endpoint, id, plugin.dir)).split(JSON.stringify(id));
    program.connection = { before: before ?? '', after: after ?? '' };
  }
  const { before, after } = program.connection;
  const args = JSON.stringify(withHookContext(invocation.args));
  return `{"ServerConnection":${before}${JSON.stringify(id)}${after},"Args":${args}}`;
}

/** In JavaScript all four keys of `hookContext` are always there, as zero values where Go leaves them out. */
function withHookContext(args: Record<string, unknown>): Record<string, unknown> {
  const { hookContext } = args;
  if (typeof hookContext !== 'object' || hookContext === null) return args;
  return { ...args, hookContext: { id: 0, type: '', input: null, inputFields: [], ...hookContext } };
}

/**
 * Refuses arguments that would fill the plugin's heap before the plugin has begun: that would be told as its own fault.
 * A large input is looked at letter by letter; what is in its strings is counted too, which only errs on the safe side.
 */
export function tooHeavy(input: string, heapMb: number): Failure | null {
  let containers = 0;
  let members = 0;
  for (let at = 0; at < input.length; at += 1) {
    const letter = input.charCodeAt(at);
    if (letter === COMMA) members += 1;
    else if (letter === OPEN_BRACE || letter === OPEN_BRACKET) containers += 1;
  }
  const observed = input.length + containers * CONTAINER_BYTES + members * MEMBER_BYTES;
  const allowed = (heapMb * 2 ** 20) / 2;
  if (observed <= allowed) return null;
  return new Failure(
    'payload_too_large',
    `The arguments would take half of the plugin's heap of ${heapMb} MB or more`,
    {
      limit: { name: 'heapMb', allowed, observed, unit: 'bytes' },
    },
  );
}

const COMMA = 0x2c;
const OPEN_BRACE = 0x7b;
const OPEN_BRACKET = 0x5b;
