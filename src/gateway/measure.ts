import type { DocumentNode, FragmentDefinitionNode, SelectionSetNode } from 'graphql';
import { Failure } from '../core/failure.ts';

export type Fragments = ReadonlyMap<string, FragmentDefinitionNode>;

/**
 * Levels (of fragments, too), fields in all, and fields on the first level, as if each fragment stood where it is spread;
 * and whether any of them is of that name.
 */
export type Measure = { depth: number; fields: number; roots: number; hasKey: boolean };

export function fragmentsOf({ definitions }: DocumentNode): Fragments {
  return new Map(
    definitions
      .filter((one): one is FragmentDefinitionNode => one.kind === 'FragmentDefinition')
      .map((one) => [one.name.value, one]),
  );
}

/**
 * Each fragment is measured once, so that a few that spread each other many times over are found out and not walked
 * through. Throws `invalid_request` for those that spread themselves. `enough`: numbers beyond it need not be exact.
 */
export function measured(
  selections: SelectionSetNode,
  fragments: Fragments,
  { enough, keyName }: { enough: number; keyName: string },
): Measure {
  const known = new Map<string, Measure>();
  const open = new Set<string>();
  const spread = (name: string): Measure => {
    const before = known.get(name);
    if (before !== undefined) return before;
    const fragment = fragments.get(name);
    // What is not there is for whoever knows the schema to tell. It counts, as somebody walks to it.
    if (fragment === undefined) return ONE;
    if (open.has(name)) throw new Failure('invalid_request', `The fragment ${name} spreads itself`);
    open.add(name);
    const measure = of(fragment.selectionSet);
    open.delete(name);
    known.set(name, measure);
    return measure;
  };
  const of = (set: SelectionSetNode): Measure => {
    const sum = { depth: 0, fields: 0, roots: 0, hasKey: false };
    for (const one of set.selections) {
      if (one.kind === 'Field') {
        const inner = one.selectionSet === undefined ? NOTHING : of(one.selectionSet);
        sum.depth = Math.max(sum.depth, inner.depth + 1);
        sum.fields += inner.fields + 1;
        sum.roots += 1;
        sum.hasKey ||= one.name.value === keyName || inner.hasKey;
      } else {
        const inner = one.kind === 'FragmentSpread' ? spread(one.name.value) : of(one.selectionSet);
        sum.depth = Math.max(sum.depth, inner.depth + 1);
        sum.fields += inner.fields;
        sum.roots += inner.roots;
        sum.hasKey ||= inner.hasKey;
      }
    }
    // Doubled often enough, a number becomes none.
    sum.fields = Math.min(sum.fields, enough + 1);
    sum.roots = Math.min(sum.roots, enough + 1);
    return sum;
  };
  return of(selections);
}

const NOTHING: Measure = Object.freeze({ depth: 0, fields: 0, roots: 0, hasKey: false });
const ONE: Measure = Object.freeze({ depth: 1, fields: 1, roots: 1, hasKey: false });
