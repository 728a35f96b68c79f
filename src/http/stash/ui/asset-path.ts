/** From what a URL says after `/assets` to a path in the plugin's folder, by the `assets` of its manifest. */
import { join } from 'node:path';

/**
 * The file that is asked for, relative to the plugin's folder; null where nothing is mapped there. The mapping with the
 * most segments counts: `/img` is for `/img/a.png` and not for `/images/a.png`, and `/` for what no other is for.
 */
export function assetPath(assets: Readonly<Record<string, string>>, rest: string): string | null {
  const asked = segmentsOf(rest);
  if (asked === null) return null;
  let found: { segments: number; folder: string } | undefined;
  for (const key of Object.keys(assets).sort()) {
    const segments = mapped(key);
    if (segments === null || (found !== undefined && segments.length <= found.segments)) continue;
    if (segments.every((one, at) => one === asked[at]))
      found = { segments: segments.length, folder: assets[key] as string };
  }
  if (found === undefined) return null;
  const path = join('.', found.folder, ...asked.slice(found.segments));
  return path === '..' || path.startsWith('../') ? null : path;
}

/**
 * Each segment decoded by itself and once, so that none can become two, or another. Null for what no file that we serve
 * can be called: `..`, names that begin with a dot, empty ones, and those with separators or control characters in them.
 */
function segmentsOf(rest: string): string[] | null {
  if (rest === '' || rest === '/') return ['index.html'];
  const segments: string[] = [];
  for (const raw of rest.slice(1).split('/')) {
    const segment = decoded(raw);
    if (segment === null || UNSERVED.test(segment)) return null;
    segments.push(segment);
  }
  // A folder stands for its page. Anywhere else an empty segment is none.
  if (segments.at(-1) === '') segments[segments.length - 1] = 'index.html';
  return segments.includes('') ? null : segments;
}

function decoded(raw: string): string | null {
  try {
    return decodeURIComponent(raw);
  } catch {
    return null;
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this is about
const UNSERVED = /^\.|[/\\\u0000-\u001f\u007f]/;

/** A key as its segments; null for one that nothing can begin with. */
function mapped(key: string): string[] | null {
  if (!key.startsWith('/')) return null;
  const segments = key.replace(/\/$/, '').split('/').slice(1);
  return segments.includes('') ? null : segments;
}
