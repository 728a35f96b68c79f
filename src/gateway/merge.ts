import type { FieldNode, SelectionSetNode } from 'graphql';
import type { Fragments } from './measure.ts';

/** What one answerer said, in the form of a GraphQL response. */
export type PartAnswer = { data?: unknown; errors?: readonly unknown[]; extensions?: unknown };

type Values = Record<string, unknown>;

/**
 * Several answers as the one that they are parts of. Where one of them has no data at all, an error has come up to the
 * root, and the whole has none.
 */
export function merged(answers: readonly PartAnswer[], order: Order): PartAnswer {
  const errors = answers.flatMap((one) => one.errors ?? []);
  const extensions = answers.map((one) => one.extensions).find((one) => one !== undefined);
  const data = answers.some((one) => !isValues(one.data))
    ? null
    : inOrder(answers.map((one) => one.data).reduce(together) as Values, order.selections, order);
  return {
    ...(errors.length === 0 ? {} : { errors }),
    data,
    ...(extensions === undefined ? {} : { extensions }),
  };
}

/** One field as two have answered it: objects are put together, lists follow each other, and truth is shared. */
function together(mine: unknown, theirs: unknown): unknown {
  if (mine === undefined || mine === null) return theirs ?? null;
  if (theirs === undefined || theirs === null) return mine;
  if (Array.isArray(mine) && Array.isArray(theirs)) return [...mine, ...theirs];
  if (typeof mine === 'boolean' && typeof theirs === 'boolean') return mine && theirs;
  if (!isValues(mine) || !isValues(theirs)) return mine;
  const all = new Map(Object.entries(mine));
  for (const [name, value] of Object.entries(theirs))
    all.set(name, all.has(name) ? together(all.get(name), value) : value);
  return Object.fromEntries(all);
}

/** In which order names stand, which is that of the operation. */
export type Order = { selections: SelectionSetNode; fragments: Fragments; shared: ReadonlySet<FieldNode> };

function inOrder(values: Values, selections: SelectionSetNode, order: Order): Values {
  const ordered = new Map<string, unknown>();
  const walk = (set: SelectionSetNode, seen: readonly string[]): void => {
    for (const one of set.selections) {
      if (one.kind === 'Field') {
        const name = one.alias?.value ?? one.name.value;
        if (!Object.hasOwn(values, name)) continue;
        const value = values[name];
        const isShared = order.shared.has(one) && one.selectionSet !== undefined && isValues(value);
        if (isShared) ordered.set(name, inOrder(value, one.selectionSet, order));
        else if (!ordered.has(name)) ordered.set(name, value);
      } else if (one.kind === 'InlineFragment') {
        walk(one.selectionSet, seen);
      } else if (!seen.includes(one.name.value)) {
        const fragment = order.fragments.get(one.name.value);
        if (fragment !== undefined) walk(fragment.selectionSet, [...seen, one.name.value]);
      }
    }
  };
  walk(selections, []);
  for (const [name, value] of Object.entries(values)) if (!ordered.has(name)) ordered.set(name, value);
  return Object.fromEntries(ordered);
}

function isValues(value: unknown): value is Values {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
