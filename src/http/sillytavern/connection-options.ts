/** Headers that a `Connection` header says are of that connection alone; undefined for none, as is usual. */
export function namedIn(connection: string | string[] | undefined): ReadonlySet<string> | undefined {
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return undefined;
  const names = [connection].flat().flatMap((one) => one.toLowerCase().split(','));
  return new Set(names.map((one) => one.trim()));
}
