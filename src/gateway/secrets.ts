import type { SelectionSetNode } from 'graphql';
import type { Operation } from './documents.ts';

/** The field in which Stash tells whoever asks what opens it to everybody. */
const API_KEY = 'apiKey';

/** Whether a query may ask for the key: names cannot be written otherwise than they are. */
export function mayAskForKey(query: string): boolean {
  return query.includes(API_KEY);
}

/** `data` with `instead` wherever the operation asks for the key. Which type a fragment is for is not looked at. */
export function withoutKeys(data: unknown, { operation, fragments }: Operation, instead: string): unknown {
  const cleaned = (value: unknown, selections: readonly SelectionSetNode[]): unknown => {
    if (Array.isArray(value)) return value.map((one) => cleaned(one, selections));
    if (typeof value !== 'object' || value === null) return value;
    const byName = new Map<string, { isKey: boolean; inner: SelectionSetNode[] }>();
    const seen = new Set<string>();
    const note = (set: SelectionSetNode): void => {
      for (const one of set.selections) {
        if (one.kind === 'InlineFragment') note(one.selectionSet);
        else if (one.kind === 'FragmentSpread') {
          const fragment = fragments.get(one.name.value);
          if (fragment === undefined || seen.has(one.name.value)) continue;
          seen.add(one.name.value);
          note(fragment.selectionSet);
        } else {
          const name = one.alias?.value ?? one.name.value;
          const known = byName.get(name) ?? { isKey: false, inner: [] };
          known.isKey ||= one.name.value === API_KEY;
          if (one.selectionSet !== undefined) known.inner.push(one.selectionSet);
          byName.set(name, known);
        }
      }
    };
    for (const set of selections) note(set);
    return Object.fromEntries(
      Object.entries(value).map(([name, one]) => {
        const known = byName.get(name);
        if (known === undefined) return [name, one];
        if (known.isKey && typeof one === 'string') return [name, instead];
        return [name, known.inner.length === 0 ? one : cleaned(one, known.inner)];
      }),
    );
  };
  return cleaned(data, [operation.selectionSet]);
}
