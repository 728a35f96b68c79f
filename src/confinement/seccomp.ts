/** Placeholder until the filters are merged. */
export function filterFile(_kind: 'program' | 'executor'): string | null {
  return null;
}
