import { type DocumentNode, type GraphQLSchema, getIntrospectionQuery, parse, type SelectionSetNode } from 'graphql';
import { Failure } from '../core/failure.ts';
import { type Fragments, fragmentsOf } from './measure.ts';

/** How many times as much as the usual question may be asked at once. */
const USUAL_MOST = 5;

/**
 * Throws `payload_too_large` for questions about a schema that are much more work than the usual one: types have fields,
 * which have types, and who asks for each of each keeps us busy for hours with a few words.
 */
export function refuseCostly(document: DocumentNode, schema: GraphQLSchema): void {
  const usual = costOf(parse(getIntrospectionQuery()), schema);
  const allowed = usual * USUAL_MOST;
  const observed = costOf(document, schema);
  if (observed <= allowed) return;
  const limit = { name: 'introspection', allowed, observed, unit: 'count' } as const;
  throw new Failure('payload_too_large', 'This asks for more of the schema than anybody needs at once', { limit });
}

/** About how many values the answer has. */
function costOf(document: DocumentNode, schema: GraphQLSchema): number {
  const types = Object.keys(schema.getTypeMap()).length;
  const fragments = fragmentsOf(document);
  const known = new Map<string, number>();
  let cost = 0;
  for (const one of document.definitions) {
    if (one.kind === 'OperationDefinition') cost += selectionsCost(one.selectionSet, { types, fragments, known });
  }
  return cost;
}

type Measuring = { types: number; fragments: Fragments; known: Map<string, number> };

/** Fragments that spread themselves have been refused before. */
function selectionsCost({ selections }: SelectionSetNode, measuring: Measuring): number {
  let cost = 0;
  for (const one of selections) {
    if (one.kind === 'FragmentSpread') cost += fragmentCost(one.name.value, measuring);
    else if (one.kind === 'InlineFragment') cost += selectionsCost(one.selectionSet, measuring);
    else {
      const times = one.name.value === 'types' ? measuring.types : (USUALLY[one.name.value] ?? 1);
      cost += times * (1 + (one.selectionSet === undefined ? 0 : selectionsCost(one.selectionSet, measuring)));
    }
  }
  return Math.min(cost, Number.MAX_SAFE_INTEGER);
}

function fragmentCost(name: string, measuring: Measuring): number {
  const before = measuring.known.get(name);
  if (before !== undefined) return before;
  const fragment = measuring.fragments.get(name);
  const cost = fragment === undefined ? 0 : selectionsCost(fragment.selectionSet, measuring);
  measuring.known.set(name, cost);
  return cost;
}

/** Of each type, field and so on. */
const USUALLY: Readonly<Record<string, number>> = {
  fields: 20,
  inputFields: 20,
  args: 3,
  enumValues: 10,
  possibleTypes: 5,
  interfaces: 3,
  directives: 10,
  locations: 5,
};
