import type { SelectionSetNode } from 'graphql';
import type { Operation } from './documents.ts';
import type { Fragments } from './measure.ts';

/** The field in which Stash tells whoever asks what opens it to everybody. */
export const API_KEY = 'apiKey';

/** Where keys are in an answer: under these names, or further in. */
type Trail = { keys: ReadonlySet<string>; inner: ReadonlyMap<string, Trail> };

/** `data`, which is changed, with `instead` wherever the operation asks for the key, under whatever name. */
export function withoutKeys(data: unknown, { operation, fragments }: Operation, instead: string): unknown {
  const trail = trailOf([operation.selectionSet], fragments);
  if (trail !== null) replace(data, trail, instead);
  return data;
}

function replace(value: unknown, trail: Trail, instead: string): void {
  if (Array.isArray(value)) {
    for (const one of value) replace(one, trail, instead);
    return;
  }
  if (typeof value !== 'object' || value === null) return;
  const object = value as Record<string, unknown>;
  for (const name of trail.keys) {
    if (Object.hasOwn(object, name) && typeof object[name] === 'string') setOwn(object, name, instead);
  }
  for (const [name, inner] of trail.inner) if (Object.hasOwn(object, name)) replace(object[name], inner, instead);
}

/** Also where the caller calls it `__proto__`. */
function setOwn(object: object, name: string, value: string): void {
  Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true });
}

/** Null where there is none. Which type a fragment is for is not looked at. */
function trailOf(sets: readonly SelectionSetNode[], fragments: Fragments): Trail | null {
  const keys = new Set<string>();
  const below = new Map<string, SelectionSetNode[]>();
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
        if (one.name.value === API_KEY) keys.add(name);
        if (one.selectionSet !== undefined) {
          const sets = below.get(name);
          if (sets === undefined) below.set(name, [one.selectionSet]);
          else sets.push(one.selectionSet);
        }
      }
    }
  };
  for (const set of sets) note(set);
  const inner = new Map<string, Trail>();
  for (const [name, further] of below) {
    const trail = trailOf(further, fragments);
    if (trail !== null) inner.set(name, trail);
  }
  return keys.size === 0 && inner.size === 0 ? null : { keys, inner };
}
