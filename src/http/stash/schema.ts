import { readFileSync } from 'node:fs';
import { buildSchema, GraphQLError, GraphQLScalarType, type GraphQLSchema } from 'graphql';

/** Deeper than any honest value, and shallow enough for whatever walks it after us. */
const DEEPEST = 200;

/** The schema, with scalars that take what Stash's take. Numbers stay numbers, wherever in a value they are. */
export function stashSchema(): GraphQLSchema {
  const schema = buildSchema(readFileSync(new URL('schema.graphql', import.meta.url), 'utf8'));
  coerce(schema, 'Map', { input: (value) => shallow('Map', object('Map', value)) });
  coerce(schema, 'BoolMap', { input: booleans });
  coerce(schema, 'Any', { input: (value) => shallow('Any', value) });
  coerce(schema, 'Time', { output: timeText });
  coerce(schema, 'Timestamp', { output: timeText });
  return schema;
}

type Coercers = { input?(value: unknown): unknown; output?(value: unknown): unknown };

/** Literals become values first, and then what their values do. */
function coerce(schema: GraphQLSchema, name: string, { input, output }: Coercers): void {
  const type = schema.getType(name);
  if (!(type instanceof GraphQLScalarType)) throw new Error(`There is no scalar ${name}`);
  if (input !== undefined) {
    type.coerceInputValue = input;
    type.parseValue = input;
  }
  if (output !== undefined) {
    type.coerceOutputValue = output;
    type.serialize = output;
  }
}

function object(name: string, value: unknown): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new GraphQLError(`${name} must be an object`);
}

function booleans(value: unknown): Record<string, boolean> {
  const map = object('BoolMap', value);
  for (const one of Object.values(map)) {
    if (typeof one !== 'boolean') throw new GraphQLError('BoolMap must have nothing but true and false in it');
  }
  return map as Record<string, boolean>;
}

function shallow<T>(name: string, value: T, depth = 0): T {
  if (typeof value !== 'object' || value === null) return value;
  if (depth >= DEEPEST) throw new GraphQLError(`${name} is nested deeper than ${DEEPEST} levels`);
  for (const inner of Object.values(value)) shallow(name, inner, depth + 1);
  return value;
}

function timeText(value: unknown): unknown {
  return value instanceof Date ? value.toISOString() : value;
}
