/** What no grant may be about: with these, a program would have the machine, or us. */
const NEVER = ['/proc', '/sys', '/dev'];
const LETTERS_MOST = 1_024;

/**
 * Why a path cannot be granted, in words that follow it; null where it can. `ours` are folders of the service's own, in
 * the same form. What links lead to is for whoever can follow them to look at.
 */
export function pathProblem(path: string, ours: readonly string[] = []): string | null {
  if (!path.startsWith('/')) return 'is not absolute';
  if (path === '/') return 'is everything';
  if (path.length > LETTERS_MOST) return `is longer than ${LETTERS_MOST} letters`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(path) || !path.isWellFormed()) return 'has control characters, or is not Unicode';
  const parts = path.slice(1).split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..')) {
    return 'must be written without //, /./, /../ and a slash at its end';
  }
  const kernel = NEVER.find((one) => isWithin(path, one));
  if (kernel !== undefined) return `is in ${kernel}`;
  if (ours.some((one) => isWithin(path, one) || isWithin(one, path))) {
    return 'is, holds, or is in a folder of this service';
  }
  return null;
}

/** Whether it is that folder, or something in it. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}
