/** What is fetched for tenants: so much at once, of each and of all, and what goes wrong as a Failure that says so. */
import { Failure } from '../../core/failure.ts';
import { type Fetched, type Fetcher, type FetchWish, isRefused, type NotFetched } from '../../core/fetching.ts';

export type VisitsOptions = {
  fetcher: Fetcher;
  /** Under way at the same time, of one tenant and of all. */
  each: number;
  all: number;
};

export class Visits {
  readonly #options: VisitsOptions;
  readonly #counts = new Map<string, number>();
  #all = 0;

  constructor(options: VisitsOptions) {
    this.#options = options;
  }

  /** Throws `invalid_request` for where nobody may be led, `source_failed`, and `concurrency_limited`. */
  async fetch(tenant: string, wish: FetchWish, signal: AbortSignal): Promise<Buffer> {
    const fetched = await this.#counted(tenant, () => this.#options.fetcher.fetch(wish, signal));
    if (fetched.ok) return fetched.bytes;
    throw new NotFetchedFailure(fetched, wish);
  }

  async #counted<T>(tenant: string, does: () => Promise<T>): Promise<T> {
    const { each, all } = this.#options;
    const own = this.#counts.get(tenant) ?? 0;
    if (own >= each || this.#all >= all) throw tooMany(own >= each ? each : all);
    this.#counts.set(tenant, own + 1);
    this.#all += 1;
    try {
      return await does();
    } finally {
      this.#all -= 1;
      const left = (this.#counts.get(tenant) ?? 1) - 1;
      if (left > 0) this.#counts.set(tenant, left);
      else this.#counts.delete(tenant);
    }
  }
}

/** With the word for it that is kept. */
export class NotFetchedFailure extends Failure {
  readonly word: string;

  constructor({ because, host, status }: Extract<Fetched, { ok: false }>, { bytes }: FetchWish) {
    super(isRefused(because) ? 'invalid_request' : 'source_failed', WORDS[because]({ host, status, bytes }));
    this.word = status === null ? because : String(status);
  }
}

type Circumstances = { host: string; status: number | null; bytes: number };

const WORDS: Record<NotFetched, (of: Circumstances) => string> = {
  'no url': () => 'This is no http(s) address that can be fetched',
  'not allowed': ({ host }) =>
    `The operator of this service allows nothing to be fetched from ${host}: that is said by the setting dispatcharr.repos`,
  'special address': ({ host }) => `${host} has an address that nobody may be led to`,
  downgrade: ({ host }) => `It leads from https to http, on ${host}`,
  unresolved: ({ host }) => `There is no host ${host}`,
  unreachable: ({ host }) => `${host} cannot be reached`,
  'too slow': ({ host }) => `${host} takes too long to answer`,
  'too large': ({ host, bytes }) => `${host} answers more than ${bytes} bytes`,
  'too many redirects': () => 'It leads from one address to the next without an end',
  status: ({ host, status }) => `${host} answers with the status ${status}`,
  garbled: ({ host }) => `What ${host} answers cannot be read`,
};

function tooMany(most: number): Failure {
  const limit = { name: 'fetches', allowed: most, observed: most + 1, unit: 'count' } as const;
  const words = `${most} others are being fetched at this moment`;
  return new Failure('concurrency_limited', words, { limit, retryable: true, retryAfterMs: 1_000 });
}
