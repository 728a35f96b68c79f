import { hash } from 'node:crypto';
import { Failure } from '../core/failure.ts';
import type { Bearer } from '../core/tenant.ts';

export type BearersOptions = {
  /** Looks a token up where they are kept. Rejects where it cannot be looked up now. */
  look(secret: string): Promise<Bearer | undefined>;
  /** So many are remembered at most, of those that open something and of those that do not. */
  most?: number;
  /** For so long a token is believed to open what it opened, where no change of it is heard; and to open nothing. */
  knownMs?: number;
  unknownMs?: number;
};

type Known = { bearer: Bearer; until: number; usedAt: number };

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
  /** Until when a token is taken for none. */
  readonly #unknown = new Map<string, number>();
  readonly #looking = new Map<string, Promise<Bearer | undefined>>();
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

  /** What the token opens, at once where it is remembered; undefined for nothing. */
  find(secret: string): Bearer | undefined | Promise<Bearer | undefined> {
    if (!this.isToken(secret)) return undefined;
    const key = hash('sha256', secret, 'base64');
    const now = Date.now();
    const known = this.#known.get(key);
    if (known !== undefined && known.until > now) {
      known.usedAt = now;
      return known.bearer;
    }
    if ((this.#unknown.get(key) ?? 0) > now) return undefined;
    return this.#looking.get(key) ?? this.#find(key, secret);
  }

  /** Told that tokens have changed, on whichever node: those of one tenant, or any. */
  forget(tenant?: string): void {
    this.#changes += 1;
    this.#unknown.clear();
    for (const [key, { bearer }] of this.#known) {
      if (tenant === undefined || bearer.tenant === tenant) this.#known.delete(key);
    }
  }

  #find(key: string, secret: string): Promise<Bearer | undefined> {
    if (this.#looking.size >= LOOKING_MOST) {
      const limit = { name: 'tokenLookUps', allowed: LOOKING_MOST, observed: LOOKING_MOST + 1, unit: 'count' } as const;
      const words = 'Too many unknown tokens are being looked up';
      return Promise.reject(new Failure('overloaded', words, { limit, retryable: true, retryAfterMs: 1_000 }));
    }
    const looking = this.#ask(key, secret).finally(() => this.#looking.delete(key));
    this.#looking.set(key, looking);
    return looking;
  }

  async #ask(key: string, secret: string): Promise<Bearer | undefined> {
    const changes = this.#changes;
    const bearer = await this.#look(secret);
    // What was found may be what has just changed.
    if (changes === this.#changes) this.#remember(key, bearer);
    return bearer;
  }

  #remember(key: string, bearer: Bearer | undefined): void {
    const now = Date.now();
    if (bearer === undefined) {
      this.#known.delete(key);
      if (this.#unknown.size >= this.#most) this.#unknown.clear();
      this.#unknown.set(key, now + this.#unknownMs);
      return;
    }
    const until = Math.min(now + this.#knownMs, bearer.expiresAt?.getTime() ?? Number.POSITIVE_INFINITY);
    if (this.#known.size >= this.#most) this.#makeRoom();
    this.#known.set(key, { bearer, until, usedAt: now });
  }

  /** The tenth that was not used for longest. */
  #makeRoom(): void {
    const all = [...this.#known].sort(([, one], [, other]) => one.usedAt - other.usedAt);
    for (const [key] of all.slice(0, Math.ceil(this.#most / 10))) this.#known.delete(key);
  }
}

const TOKEN = /^isopod_[\w-]{12}_[\w-]{32}$/;
