import type { Chain } from './chain.ts';
import type { EventWish } from './hook.ts';

/** One hook after the other; or the plugins side by side, and only the hooks of each one after the other. */
export const HOOK_ORDERS = ['sequential', 'parallel'] as const;
export type HookOrder = (typeof HOOK_ORDERS)[number];

/**
 * What is done with events instead of running their hooks at once. `batch`: all are kept until so long after the first
 * of them. `debounce`: those of the same type and object become one, which is due so long after the last of them, and
 * `mostMs` after the first at the latest.
 */
export type Deferral = { how: 'batch'; ms: number } | { how: 'debounce'; ms: number; mostMs: number };

/** How a tenant wants its events to set off hooks. */
export type HookPolicy = {
  order: HookOrder;
  /** Events are kept until somebody ends this. */
  paused: boolean;
  defer: Deferral | null;
  /** Goes up with each change: the ETag. */
  revision: number;
};

export const AT_ONCE: HookPolicy = Object.freeze({ order: 'sequential', paused: false, defer: null, revision: 1 });

/** Why events are kept; null where their hooks are run at once. */
export type HeldBecause = 'paused' | Deferral['how'];

export function heldBecause({ paused, defer }: HookPolicy): HeldBecause | null {
  return paused ? 'paused' : (defer?.how ?? null);
}

/** An event that is kept until it is due, with the chain that it came with. */
export type HeldEvent = { id: string; wish: EventWish; chain: Chain | null; dueAt: Date };

/** A second event in the place of a first one of the same type and object: its input, and the names of what either sent. */
export function mergedEvents(first: HeldEvent, next: Omit<HeldEvent, 'id' | 'dueAt'>): Omit<HeldEvent, 'id' | 'dueAt'> {
  const inputFields = mergedFields(first.wish.inputFields, next.wish.inputFields);
  return { wish: { ...next.wish, inputFields }, chain: longer(first.chain, next.chain) };
}

/** No names mean that anything may have been sent. */
function mergedFields(first: readonly string[], next: readonly string[]): readonly string[] {
  if (first.length === 0 || next.length === 0) return [];
  const all = [...new Set([...first, ...next])];
  return all.length > FIELDS_MOST ? [] : all;
}

export const FIELDS_MOST = 1_000;

/** A circle of hooks is not to begin anew because somebody else has touched the same object. */
function longer(first: Chain | null, next: Chain | null): Chain | null {
  return (first?.links.length ?? -1) > (next?.links.length ?? -1) ? first : next;
}
