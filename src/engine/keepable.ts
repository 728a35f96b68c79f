/** What is kept as JSON has bounds where nothing else is declared about it, and PostgreSQL has some of its own. */

export const TEXT_MOST = 65_536;
const DEEPEST = 100;

/** What is wrong with a value that nothing was declared about; null where nothing is. */
export function unkeepable(value: unknown, depth = 1): string | null {
  if (typeof value === 'string') {
    if (value.length > TEXT_MOST) return `a text is longer than ${TEXT_MOST}`;
    return isUnkeepable(value) ? 'a text is not Unicode without U+0000' : null;
  }
  if (typeof value !== 'object' || value === null) return null;
  if (depth > DEEPEST) return `they are nested deeper than ${DEEPEST} levels`;
  for (const [key, inner] of Object.entries(value)) {
    const problem = unkeepable(key) ?? unkeepable(inner, depth + 1);
    if (problem !== null) return problem;
  }
  return null;
}

/** PostgreSQL keeps neither NUL nor half a character. */
export function isUnkeepable(text: string): boolean {
  return text.includes('\0') || !text.isWellFormed();
}

/** Whether nothing in it is nested so deep that writing it as JSON could fail. */
export function isShallow(value: unknown, depth = 1): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return depth <= DEEPEST && Object.values(value).every((inner) => isShallow(inner, depth + 1));
}

/** The same value, where it is not nested deeper than that, without what PostgreSQL does not keep. */
export function kept(value: unknown, depth = 1): unknown {
  if (typeof value === 'string') return value.replaceAll('\0', '').toWellFormed();
  if (typeof value !== 'object' || value === null) return value;
  if (depth > DEEPEST) return null;
  if (Array.isArray(value)) return value.map((one) => kept(one, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [kept(key, depth + 1) as string, kept(inner, depth + 1)]),
  );
}
