import type { Warn } from '../core/portrayal.ts';
import type { ManifestSource } from './dialect.ts';

/**
 * What a manifest in JSON holds. Null where it cannot be read, or is no object: of these formats, a plugin can do without
 * one. Whoever has written it is warned.
 */
export function objectIn(
  { bytes, unread }: Pick<ManifestSource, 'bytes' | 'unread'>,
  warn: Warn = () => {},
): Record<string, unknown> | null {
  const problem = (words: string) => {
    warn(`all of it is left out: ${words}`);
    return null;
  };
  if (unread !== undefined) return problem(unread);
  if (bytes.length === 0) return null;
  try {
    const manifest: unknown = JSON.parse(UTF8.decode(bytes));
    return isMapping(manifest) ? manifest : problem('it is no JSON object');
  } catch (error) {
    if (error instanceof SyntaxError) {
      return problem(hasMark(bytes) ? 'it begins with a byte order mark' : `it is no JSON (${error.message})`);
    }
    if (error instanceof TypeError) return problem('it is no UTF-8');
    throw error;
  }
}

export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Neither Python's nor Node's reader takes a byte order mark. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function hasMark([first, second, third]: Uint8Array): boolean {
  return first === 0xef && second === 0xbb && third === 0xbf;
}
