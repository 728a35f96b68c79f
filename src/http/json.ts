import type { FastifyInstance } from 'fastify';
import { Failure } from '../core/failure.ts';

/** Deeper than any honest arguments, and shallow enough for whatever walks them after us. */
const DEEPEST = 200;

/**
 * JSON bodies, and nothing else. Keys such as `__proto__` become plain own data, as `JSON.parse` makes them, and are
 * for the schema and the plugin to judge: nothing of ours copies a body key by key with `=`.
 */
export function parseJson(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => {
    const text = body as string;
    if (text === '') return done(new Failure('invalid_request', 'The body is empty; the least there is to send is {}'));
    if (text.length > DEEPEST * 2 && tooDeep(text)) {
      return done(new Failure('invalid_request', `The body is nested deeper than ${DEEPEST} levels`));
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      return done(new Failure('invalid_request', `The body is not JSON: ${(error as Error).message}`));
    }
    done(null, value);
  });
}

function tooDeep(text: string): boolean {
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i += 1) {
    const letter = text.charCodeAt(i);
    if (quoted) {
      if (letter === BACKSLASH) i += 1;
      else if (letter === QUOTE) quoted = false;
    } else if (letter === QUOTE) quoted = true;
    else if (letter === OPEN_BRACE || letter === OPEN_BRACKET) {
      depth += 1;
      if (depth > DEEPEST) return true;
    } else if (letter === CLOSE_BRACE || letter === CLOSE_BRACKET) depth -= 1;
  }
  return false;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
