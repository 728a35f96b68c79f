import { hash } from 'node:crypto';
import { Failure } from '../core/failure.ts';
import type { Bearer, Spent } from '../core/tenant.ts';

export type BearersOptions = {
  /** Looks a token up where they are kept. Rejects where it cannot be looked up now. */
  look(secret: string): Promise<Bearer | Spent | undefined>;
  /** So many are remembered at most, of those that open something and of those that do not. */
  most?: number;
  /** For so long a token is believed to open what it opened, where no change of it is heard; and to open nothing. */
  knownMs?: number;
  unknownMs?: number;
};

/** A bearer as long as that is believed: until when, which is 0 as soon as a change is heard. */
export type Held = Bearer & { readonly until: number };

/** What a token is found to be: what it opens, why it opens nothing any more, or none. */
export type Found = Held | Spent | undefined;

type Known = Bearer & { until: number; usedAt: number };

/** What is being looked up, and how many changes had been heard before. */
type Looking = { found: Promise<Found>; changes: number };

type Unknown = { spent: Spent | undefined; until: number };

/** Look-ups under way; whoever comes on top of them is guessing, or the database is slow for everybody. */
const LOOKING_MOST = 64;

/**
 * Who holds which token, remembered for a while by the token's digest, so that a call does not ask the database. Changes
 * that are heard empty it; those that are not are noticed when the time is over.
 */
export class Bearers {
  readonly #look: BearersOptions['look'];
  readonly #most: number;
  readonly #knownMs: number;
  readonly #unknownMs: number;
  readonly #known = new Map<string, Known>();
  readonly #unknown = new Map<string, Unknown>();
  readonly #looking = new Map<string, Looking>();
  #changes = 0;

  constructor({ look, most = 10_000, knownMs = 30_000, unknownMs = 5_000 }: BearersOptions) {
    this.#look = look;
    this.#most = most;
    this.#knownMs = knownMs;
    this.#unknownMs = unknownMs;
  }

  /** Whether a text looks like a token of a tenant. Nothing else is looked up. */
  isToken(text: string): boolean {
    return TOKEN.test(text);
  }

  /** What the token opens, at once where it is remembered. */
  find(secret: string): Found | Promise<Found> {
    if (!this.isToken(secret)) return undefined;
    const key = hash('sha256', secret, 'base64');
    const now = Date.now();
    const known = this.#known.get(key);
    if (known !== undefined && known.until > now) {
      known.usedAt = now;
      return known;
    }
    const unknown = this.#unknown.get(key);
    if (unknown !== undefined && unknown.until > now) return unknown.spent;
    const looking = this.#looking.get(key);
    return looking?.changes === this.#changes ? looking.found : this.#find(key, secret);
  }

  /** Told that tokens have changed, on whichever node: those of one tenant, or any. */
  forget(tenant?: string): void {
    this.#changes += 1;
    this.#unknown.clear();
    for (const [key, known] of this.#known) {
      if (tenant === undefined || known.tenant === tenant) this.#forget(key, known);
    }
  }

  #forget(key: string, known: Known): void {
    known.until = 0;
    this.#known.delete(key);
  }

  #find(key: string, secret: string): Promise<Found> {
    if (this.#looking.size >= LOOKING_MOST) {
      const limit = { name: 'tokenLookUps', allowed: LOOKING_MOST, observed: LOOKING_MOST + 1, unit: 'count' } as const;
      const words = 'Too many unknown tokens are being looked up';
      return Promise.reject(new Failure('overloaded', words, { limit, retryable: true, retryAfterMs: 1_000 }));
    }
    const found = this.#ask(key, secret).finally(() => {
      if (this.#looking.get(key)?.found === found) this.#looking.delete(key);
    });
    this.#looking.set(key, { found, changes: this.#changes });
    return found;
  }

  async #ask(key: string, secret: string): Promise<Found> {
    const changes = this.#changes;
    const found = await this.#look(secret);
    // What was found may be what has just changed.
    const isStale = changes !== this.#changes;
    if (found !== undefined && 'token' in found) return this.#remember(key, found, isStale);
    if (!isStale) this.#rememberNone(key, found);
    return found;
  }

  #remember(key: string, bearer: Bearer, isStale: boolean): Held {
    const now = Date.now();
    if (isStale) return { ...bearer, until: 0 };
    const until = Math.min(now + this.#knownMs, bearer.expiresAt?.getTime() ?? Number.POSITIVE_INFINITY);
    if (this.#known.size >= this.#most) this.#makeRoom();
    const known = { ...bearer, until, usedAt: now };
    this.#known.set(key, known);
    return known;
  }

  #rememberNone(key: string, spent: Spent | undefined): void {
    this.#known.delete(key);
    if (this.#unknown.size >= this.#most) this.#unknown.clear();
    this.#unknown.set(key, { spent, until: Date.now() + this.#unknownMs });
  }

  /** The tenth that was not used for longest. */
  #makeRoom(): void {
    const all = [...this.#known].sort(([, one], [, other]) => one.usedAt - other.usedAt);
    for (const [key, known] of all.slice(0, Math.ceil(this.#most / 10))) this.#forget(key, known);
  }
}

const TOKEN = /^isopod_[\w-]{12}_[\w-]{32}$/;
