import { isUtf8 } from 'node:buffer';
import type { FastifyInstance } from 'fastify';
import { Failure } from '../core/failure.ts';

/** Deeper than any honest arguments, and shallow enough for whatever walks them after us. */
const DEEPEST = 200;
/** Whoever parses more of them has no time for anybody else meanwhile. */
const VALUES_MOST = 1_000_000;

/** JSON bodies, and nothing else. */
export function parseJson(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  addJsonParser(app, 'application/json');
}

/**
 * JSON under a name of its own. Keys such as `__proto__` become plain own data, as `JSON.parse` makes them, and are for
 * the schema and the plugin to judge: nothing of ours copies a body key by key with `=`.
 */
export function addJsonParser(app: Pick<FastifyInstance, 'addContentTypeParser'>, mediaType: string): void {
  app.addContentTypeParser(mediaType, { parseAs: 'buffer' }, (request, body, done) => {
    const bytes = body as Buffer;
    if (bytes.length === 0) {
      // Clients set the header without having anything to say.
      if (request.routeOptions.schema?.body === undefined) return done(null);
      return done(new Failure('invalid_request', 'The body is empty; the least there is to send is {}'));
    }
    let value: unknown;
    try {
      value = readJson(bytes);
    } catch (error) {
      return done(error as Failure);
    }
    done(null, value);
  });
}

/** Throws `invalid_request` for what is no JSON, or more of it than anybody has to send. */
export function readJson(bytes: Buffer): unknown {
  // What is not UTF-8 would become question marks, and nobody would know.
  if (!isUtf8(bytes)) throw new Failure('invalid_request', 'The body is not UTF-8, which JSON is written in');
  const text = bytes.toString();
  const problem = text.length > DEEPEST * 2 ? tooMuch(text) : null;
  if (problem !== null) throw new Failure('invalid_request', problem);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Failure('invalid_request', `The body is not JSON: ${(error as Error).message}`);
  }
}

/** What is wrong with the shape of a text that looks like JSON; null where nothing is. */
function tooMuch(text: string): string | null {
  let depth = 0;
  let values = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i += 1) {
    const letter = text.charCodeAt(i);
    if (quoted) {
      if (letter === BACKSLASH) i += 1;
      else if (letter === QUOTE) quoted = false;
    } else if (letter === QUOTE) quoted = true;
    else if (letter === OPEN_BRACE || letter === OPEN_BRACKET) {
      depth += 1;
      values += 1;
      if (depth > DEEPEST) return `The body is nested deeper than ${DEEPEST} levels`;
    } else if (letter === COMMA) {
      values += 1;
    } else if (letter === CLOSE_BRACE || letter === CLOSE_BRACKET) depth -= 1;
  }
  return values > VALUES_MOST ? `The body has more than ${VALUES_MOST} values` : null;
}

const COMMA = 0x2c;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
