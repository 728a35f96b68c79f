import { Failure } from '../core/failure.ts';
import type { GraphqlAsk } from '../core/graphql.ts';

/** What a body asks. Throws `invalid_request`. */
export function askOf(text: string): GraphqlAsk {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Failure('invalid_request', `The body is not JSON: ${(error as Error).message}`);
  }
  if (!isObject(value)) throw new Failure('invalid_request', 'The body is no JSON object with a "query" in it');
  const { query, variables, operationName } = value;
  if (typeof query !== 'string') throw new Failure('invalid_request', 'There is no "query" in the body');
  if (variables !== undefined && variables !== null && !isObject(variables)) {
    throw new Failure('invalid_request', 'The "variables" are no object');
  }
  if (operationName !== undefined && operationName !== null && typeof operationName !== 'string') {
    throw new Failure('invalid_request', 'The "operationName" is no string');
  }
  return { query, variables, operationName, text };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
