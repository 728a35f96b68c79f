import { Failure } from '../core/failure.ts';
import type { GraphqlAsk } from '../core/graphql.ts';

/** What a body asks. Throws `invalid_request`. */
export function askOf(text: string): GraphqlAsk {
  const value = parsed(text, 'body');
  if (!isObject(value)) throw new Failure('invalid_request', 'The body is no JSON object with a "query" in it');
  return askIn(value);
}

/** The same for the members of one, or of a query string. */
export function askIn(value: Record<string, unknown>): GraphqlAsk {
  const { query, variables, operationName } = value;
  if (typeof query !== 'string') throw new Failure('invalid_request', 'There is no "query" in the body');
  if (variables !== undefined && variables !== null && !isObject(variables)) {
    throw new Failure('invalid_request', 'The "variables" are no object');
  }
  if (operationName !== undefined && operationName !== null && typeof operationName !== 'string') {
    throw new Failure('invalid_request', 'The "operationName" is no string');
  }
  return { query, variables, operationName };
}

/** Throws `invalid_request`. */
export function parsed(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Failure('invalid_request', `The ${what} is not JSON: ${(error as Error).message}`);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
