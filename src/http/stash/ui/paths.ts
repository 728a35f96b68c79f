import type { Plugin } from '../../../core/plugin.ts';

export type Paths = { javascript: string[] | null; css: string[] | null };

/**
 * Where the scripts and styles of a plugin are, as Stash says it: those of other servers in their order, then all the
 * rest as one, which is named even where there is nothing in it; null where there are none at all. `base` is what
 * `baseOf` gives.
 */
export function pathsOf({ id, ui }: Pick<Plugin, 'id' | 'ui'>, base: string): Paths {
  const all = (kind: 'javascript' | 'css') => {
    const parts = ui?.[kind] ?? [];
    if (parts.length === 0) return null;
    return [...parts.filter((part) => urlOf(part) !== null), `${base}${rootOf(id)}/${kind}`];
  };
  return { javascript: all('javascript'), css: all('css') };
}

export function rootOf(plugin: string): string {
  return `/plugin/${encodeURIComponent(plugin)}`;
}

/** Whether it is on another server, so that it is no file of the plugin. */
export function isExternal(part: string): boolean {
  return part.startsWith('http://') || part.startsWith('https://');
}

/** Null for what is a file of the plugin, or no URL that a browser would fetch. */
export function urlOf(part: string): URL | null {
  const url = isExternal(part) ? URL.parse(part) : null;
  return url === null || url.username !== '' || url.password !== '' ? null : url;
}
