/** Getting something from the internet for a tenant: a file at a URL, and nothing that is not meant for everybody. */
export interface Fetcher {
  /** Rejects with the reason of the signal, and with nothing else. */
  fetch(wish: FetchWish, signal: AbortSignal): Promise<Fetched>;
}

export type FetchWish = {
  url: string;
  /** More than this is not taken. */
  bytes: number;
  /** How long it may take with all redirects. */
  ms: number;
};

export type Fetched =
  | { ok: true; bytes: Buffer }
  /** `host` is where it came to that: it may be that of a redirect. `status` is what was answered. */
  | { ok: false; because: NotFetched; host: string; status: number | null };

/** The first four are our refusals, and the others what became of a try. */
export type NotFetched =
  | 'no url'
  | 'not allowed'
  | 'special address'
  | 'downgrade'
  | 'unresolved'
  | 'unreachable'
  | 'too slow'
  | 'too large'
  | 'too many redirects'
  | 'status'
  | 'garbled';

const REFUSED: ReadonlySet<NotFetched> = new Set(['no url', 'not allowed', 'special address', 'downgrade']);

/** Whether it was refused here, whatever is there. */
export function isRefused(because: NotFetched): boolean {
  return REFUSED.has(because);
}
