/**
 * Files from elsewhere: from hosts that the operator has named, and from nobody's private network. A name is looked up
 * once, all of its addresses are judged, and just those are connected to; where an answer leads elsewhere, everything is
 * judged anew. Nobody is told who asks: there are no credentials and no cookies, and nothing is kept between two files.
 */
import type { LookupFunction } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { Client, type Dispatcher, errors } from 'undici';
import { Crumbs } from '../../core/crumbs.ts';
import type { Fetched, Fetcher, FetchWish, NotFetched } from '../../core/fetching.ts';
import { type HostPattern, hostOf, matches, patternOf } from '../../core/host-pattern.ts';
import { INTERIM_MOST } from '../../core/interim.ts';
import { Reach, type ReachOptions } from './address.ts';
import { addressesOf, askNameServers, type Resolve } from './resolver.ts';

export type GuardedFetcherOptions = ReachOptions & {
  /** What may be fetched from, in the form of `patternOf`. */
  hosts: readonly string[];
  resolve?: Resolve;
};

const HOPS_MOST = 5;
const HEADER_BYTES = 16 * 1024;
const NEXT_ADDRESS_MS = 1_000;
const ADDRESSES_MOST = 8;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

type Place = { url: URL; host: string; port: number };
/** What came of one request: the file, another URL to ask, or neither. */
type Hop = { bytes: Buffer } | { location: string } | { because: NotFetched; status?: number };

export class GuardedFetcher implements Fetcher {
  readonly #patterns: readonly HostPattern[];
  readonly #reach: Reach;
  readonly #resolve: Resolve;

  constructor(options: GuardedFetcherOptions) {
    this.#patterns = options.hosts.flatMap((one) => patternOf(one) ?? []);
    this.#reach = new Reach(options);
    this.#resolve = options.resolve ?? askNameServers;
  }

  async fetch({ url, bytes, ms }: FetchWish, gone: AbortSignal): Promise<Fetched> {
    const deadline = AbortSignal.timeout(ms);
    const signal = AbortSignal.any([gone, deadline]);
    let place = placeOf(url);
    if (place === null) return refused('no url', '');
    for (let hops = 0; ; hops += 1) {
      gone.throwIfAborted();
      const { host } = place;
      if (hops > HOPS_MOST) return refused('too many redirects', host);
      const hop = await this.#hop(place, bytes, signal);
      gone.throwIfAborted();
      if ('bytes' in hop) return { ok: true, bytes: hop.bytes };
      if ('because' in hop) {
        return refused(deadline.aborted ? 'too slow' : hop.because, host, hop.status);
      }
      const next = placeOf(hop.location, place.url);
      if (next === null) return refused('garbled', host);
      // What was asked for in secret is not fetched in the open.
      if (place.url.protocol === 'https:' && next.url.protocol === 'http:') return refused('downgrade', next.host);
      place = next;
    }
  }

  async #hop(place: Place, most: number, signal: AbortSignal): Promise<Hop> {
    const { url, host, port } = place;
    if (!this.#patterns.some((one) => matches(one, host, port))) return { because: 'not allowed' };
    const addresses = await addressesOf(host, this.#resolve, signal);
    if (addresses.length === 0) return { because: 'unresolved' };
    if (!addresses.every((one) => this.#reach.allows(one, port))) return { because: 'special address' };
    const client = clientFor(url, addresses.slice(0, ADDRESSES_MOST), most);
    let interim = 0;
    try {
      const answer = await client.request({
        path: url.pathname + url.search,
        method: 'GET',
        // A few bytes may unpack to as many as one likes.
        headers: { accept: '*/*', 'accept-encoding': 'identity', 'user-agent': 'isopod' },
        signal,
        onInfo: () => {
          interim += 1;
          if (interim > INTERIM_MOST) throw new errors.HTTPParserError('Announced again and again');
        },
      });
      return await hopOf(answer, most);
    } catch (error) {
      return { because: becauseOf(error) };
    } finally {
      await client.destroy();
    }
  }
}

function clientFor({ origin }: URL, addresses: readonly string[], most: number): Client {
  const families = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  // Whatever is asked for: the addresses are known.
  const lookup: LookupFunction = (_host, { all }, callback) => {
    const [first] = families;
    if (all === true) callback(null, families);
    else callback(null, first?.address ?? '', first?.family);
  };
  return new Client(origin, {
    // All bounds here are those of HTTP/1.1; how long it takes is for the signal.
    allowH2: false,
    connect: { lookup, timeout: 0, autoSelectFamily: true, autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_MS },
    headersTimeout: 0,
    bodyTimeout: 0,
    maxHeaderSize: HEADER_BYTES,
    maxResponseSize: most,
    pipelining: 0,
  });
}

async function hopOf({ statusCode, headers, body }: Dispatcher.ResponseData, most: number): Promise<Hop> {
  // What nobody reads goes with its connection, and must not be an error that nobody hears.
  body.on('error', () => {});
  const { location } = headers;
  if (REDIRECTS.has(statusCode) && typeof location === 'string') return { location };
  if (statusCode !== 200) return { because: 'status', status: statusCode };
  if ((headers['content-encoding'] ?? 'identity') !== 'identity') return { because: 'garbled' };
  const told = Number(headers['content-length'] ?? 0);
  if (told > most) return { because: 'too large' };
  return { bytes: await whole(body, told, most) };
}

/** In memory that is not shared with anything: it may be handed over to a thread. */
async function whole(body: AsyncIterable<Buffer>, told: number, most: number): Promise<Buffer> {
  let kept = Buffer.allocUnsafeSlow(told > 0 ? told : Math.min(most, FIRST_BYTES));
  let length = 0;
  const crumbs = new Crumbs();
  for await (const chunk of body) {
    if (length + chunk.length > most) throw new errors.ResponseExceededMaxSizeError();
    if (length + chunk.length > kept.length) {
      const larger = Buffer.allocUnsafeSlow(Math.min(most, Math.max(kept.length * 2, length + chunk.length)));
      kept.copy(larger, 0, 0, length);
      kept = larger;
    }
    length += chunk.copy(kept, length);
    const waitMs = crumbs.take(chunk.length, performance.now());
    if (waitMs > 0) await setTimeout(waitMs);
  }
  return kept.subarray(0, length);
}

const FIRST_BYTES = 64 * 1024;

function becauseOf(error: unknown): NotFetched {
  if (error instanceof errors.ResponseExceededMaxSizeError) return 'too large';
  return error instanceof errors.HTTPParserError || error instanceof errors.HeadersOverflowError
    ? 'garbled'
    : 'unreachable';
}

/** Null for what is no URL that anybody may be sent to. */
function placeOf(text: string, base?: URL): Place | null {
  const url = text.length > URL_MOST ? null : URL.parse(text, base);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) return null;
  if (url.username !== '' || url.password !== '') return null;
  const host = hostOf(url.hostname);
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80));
  return host === null || port === 0 ? null : { url, host, port };
}

const URL_MOST = 4_096;

function refused(because: NotFetched, host: string, status: number | null = null): Fetched {
  return { ok: false, because, host, status };
}
