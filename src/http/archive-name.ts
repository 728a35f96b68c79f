/**
 * What a body is called, of `Content-Disposition` (RFC 6266): without any folder, and undefined where that is not said in
 * a way that can be told for sure.
 */
export function archiveName(header: string | undefined): string | undefined {
  if (header === undefined || header.length > LETTERS_MOST) return undefined;
  const extended = /;\s*filename\*\s*=\s*utf-8'[^';]*'([^;\s"]+)/i.exec(header)?.[1];
  const quoted = /;\s*filename\s*=\s*"((?:[^"\\]|\\.)*)"/i.exec(header)?.[1]?.replace(/\\(.)/g, '$1');
  const token = /;\s*filename\s*=\s*([^\s";,]+)/i.exec(header)?.[1];
  const name = (extended === undefined ? undefined : decoded(extended)) ?? quoted ?? token;
  return name?.split(/[/\\]/).at(-1) || undefined;
}

const LETTERS_MOST = 1_000;

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
