import { inspect } from 'node:util';

const MESSAGE_MOST = 8_192;
const STACK_MOST = 32_768;
const OURS = new URL('.', import.meta.url).href;

/** An error as it is told. Anything can be thrown, and reading it may run code of the plugin, which may throw again. */
export function described(thrown) {
  const error = asError(thrown);
  return {
    name: cut(read(error, 'name') || read(error.constructor, 'name') || 'Error', 256),
    message: cut(read(error, 'message') || shown(error), MESSAGE_MOST),
    stack: cut(error === thrown ? withoutUs(read(error, 'stack')) : '', STACK_MOST),
  };
}

/** In a few words, for a list. */
export function inShort(error) {
  const { name, message } = described(error);
  return cut(`${name}: ${message}`.split('\n')[0], 500);
}

export function cut(text, most) {
  return text.length <= most ? text : `${text.slice(0, most)}…`;
}

/** An object in any case, for those who tell errors by that. */
export function asError(thrown) {
  return Object(thrown) === thrown ? thrown : new Error(`What was thrown is no error: ${shown(thrown)}`);
}

/** How we came to the plugin's code is of no interest to anybody. */
function withoutUs(stack) {
  const lines = stack.split('\n');
  return lines.filter((line) => !line.includes(OURS)).join('\n');
}

function read(error, name) {
  try {
    const value = error?.[name];
    return typeof value === 'string' ? value : '';
  } catch {
    return '';
  }
}

function shown(value) {
  try {
    return typeof value === 'string' ? value : inspect(value, { depth: 1, breakLength: Number.POSITIVE_INFINITY });
  } catch {
    return 'something that cannot be shown';
  }
}
