import { Failure } from '../core/failure.ts';
import { askIn, type GraphqlAsk } from '../core/graphql.ts';

/** What a body asks. Throws `invalid_request`. */
export function askOf(text: string): GraphqlAsk {
  const value = parsed(text, 'body');
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return askIn(value);
  throw new Failure('invalid_request', 'The body is no JSON object with a "query" in it');
}

/** Throws `invalid_request`. */
export function parsed(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Failure('invalid_request', `The ${what} is not JSON: ${(error as Error).message}`);
  }
}
