/**
 * `keys` as Go sorts them, by bytes of UTF-8. There may be a million: they are sorted in short runs and then merged, and
 * what is yielded in between is nothing but an opportunity to let others have their turn.
 */
export function* sortedKeys(keys: readonly string[]): Generator<'', readonly string[]> {
  if (keys.length <= RUN) return keys.toSorted(keys.some(hasSurrogate) ? byUtf8 : byUnits);
  let done: string[][] = [];
  // JavaScript sorts by units of UTF-16, which is quicker, and the same where no key has surrogates.
  let compare = byUnits;
  for (let at = 0; at < keys.length; at += RUN) {
    const run = keys.slice(at, at + RUN);
    if (compare === byUnits && run.some(hasSurrogate)) compare = byUtf8;
    done.push(run);
    yield '';
  }
  for (const run of done) {
    run.sort(compare);
    yield '';
  }
  while (done.length > 1) {
    const merged: string[][] = [];
    for (let at = 0; at < done.length; at += 2) merged.push(yield* merge(done[at] ?? [], done[at + 1] ?? [], compare));
    done = merged;
  }
  return done[0] ?? [];
}

function* merge(one: readonly string[], other: readonly string[], compare: Compare): Generator<'', string[]> {
  const both: string[] = [];
  let at = 0;
  let otherAt = 0;
  while (both.length < one.length + other.length) {
    const left = one[at];
    const right = other[otherAt];
    if (right === undefined || (left !== undefined && compare(left, right) <= 0)) {
      both.push(left as string);
      at++;
    } else {
      both.push(right);
      otherAt++;
    }
    if (both.length % RUN === 0) yield '';
  }
  return both;
}

type Compare = (one: string, other: string) => number;

function byUnits(one: string, other: string): number {
  return one < other ? -1 : Number(one > other);
}

function byUtf8(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}

function hasSurrogate(key: string): boolean {
  return /[\ud800-\udfff]/.test(key);
}

const RUN = 4096;
