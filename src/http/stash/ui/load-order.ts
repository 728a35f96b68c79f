import type { Plugin } from '../../../core/plugin.ts';

/** `circles` are lists of ids, each of which requires the next, and the last the first. */
export type LoadOrder<P> = { order: P[]; circles: string[][] };

const CIRCLES_MOST = 20;

type Requiring = Pick<Plugin, 'id' | 'ui'>;

/**
 * Each plugin after those that it requires, and otherwise in the order given. What is required and not there is left out
 * of account; a circle is entered at its first plugin and told, once for each requirement that it makes impossible.
 */
export function loadOrder<P extends Requiring>(plugins: readonly P[]): LoadOrder<P> {
  const byId = new Map(plugins.map((plugin) => [plugin.id, plugin]));
  const order: P[] = [];
  const circles: string[][] = [];
  const seen = new Set<P>();
  for (const first of plugins) {
    if (seen.has(first)) continue;
    // A list instead of a recursion: a chain of plugins may be longer than a stack is deep.
    const path = [enter(first)];
    for (let step = path.at(-1); step !== undefined; step = path.at(-1)) {
      const { value: id } = step.requires.next();
      if (id === undefined) {
        order.push(step.plugin);
        path.pop();
        continue;
      }
      const required = byId.get(id);
      if (required === undefined) continue;
      if (!seen.has(required)) path.push(enter(required));
      else if (circles.length < CIRCLES_MOST) {
        const at = path.findIndex(({ plugin }) => plugin === required);
        if (at !== -1) circles.push(path.slice(at).map(({ plugin }) => plugin.id));
      }
    }
  }
  return { order, circles };

  function enter(plugin: P) {
    seen.add(plugin);
    return { plugin, requires: new Set(plugin.ui?.requires ?? []).values() };
  }
}
