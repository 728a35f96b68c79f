/**
 * Negative where one version is before the other, 0 where they are the same or one is not said. Contract: Dispatcharr
 * `apps/plugins/api_views.py`: where a part is no number there is no order, and then the first counts as the newer one.
 */
export function compareVersions(one: string, other: string): number {
  if (one === '' || other === '') return 0;
  const [a, b] = [bare(one), bare(other)];
  const [left, right] = [a.split('.'), b.split('.')];
  if (![...left, ...right].every((part) => /^\d+$/.test(part))) return a === b ? 0 : 1;
  for (let at = 0; at < Math.max(left.length, right.length); at += 1) {
    const [x, y] = [BigInt(left[at] ?? '0'), BigInt(right[at] ?? '0')];
    if (x !== y) return x < y ? -1 : 1;
  }
  return 0;
}

function bare(version: string): string {
  return version.replace(/^v+/, '');
}

export type VersionLimits = { min: string; max: string };

/** Why what has these limits is not for a host of that version; null where it is. */
export function unfit(host: string, { min, max }: VersionLimits): string | null {
  if (compareVersions(host, min) < 0) return `It is for Dispatcharr ${min} and later, and this service acts as ${host}`;
  if (compareVersions(host, max) > 0)
    return `It is for Dispatcharr ${max} and earlier, and this service acts as ${host}`;
  return null;
}
