/** What a caller prefers (https://www.rfc-editor.org/rfc/rfc7240): not to wait, or to wait for so long. */
export type Preference = { way: 'answer' } | { way: 'job'; waitMs: number };

const WAIT_S_MOST = 600;

export function preferenceOf(header: string | string[] | undefined): Preference {
  if (header === undefined) return { way: 'answer' };
  const text = typeof header === 'string' ? header : header.join(',');
  const wait = /(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?/i.exec(text)?.[1];
  if (wait !== undefined) return { way: 'job', waitMs: Math.min(Number(wait), WAIT_S_MOST) * 1_000 };
  return /(?:^|[,;\s])respond-async(?:$|[,;\s])/i.test(text) ? { way: 'job', waitMs: 0 } : { way: 'answer' };
}
