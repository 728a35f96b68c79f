import { randomBytes } from 'node:crypto';
import { Failure } from '../core/failure.ts';
import type { Update } from '../core/resident.ts';
import { isShallow } from './keepable.ts';
import type { Tenancy } from './tenancy.ts';

/** One update as JSON, in bytes. */
const UPDATE_BYTES = 65_536;
/** What is kept for those who come late: of a tenant, and of all of them. */
const KEPT_MOST = 200;
const KEPT_BYTES = 4_194_304;
const ALL_BYTES = 67_108_864;
/** Who listens on one node, of one tenant and of all of them: each holds a connection. */
const LISTENERS_EACH_MOST = 100;
const LISTENERS_MOST = 2_000;

type Kept = { number: number; plugin: string; text: string };
type Hearer = { hear(): void };

/** What plugins of one tenant have said here. `name` tells it from others before and after it, and on other nodes. */
type Channel = {
  tenant: string;
  name: string;
  told: number;
  kept: Kept[];
  bytes: number;
  hearers: Set<Hearer>;
  isOver: boolean;
};

/** An update with a name that it is asked for again by, and as JSON. */
export type ToldUpdate = { id: string; text: string };

export type Wanted = {
  /** The last one that was heard before. One that is not known any more is before all that are kept. */
  after: string | undefined;
  /** Whose; everybody's where it is undefined. */
  plugin: string | undefined;
};

/** Disposing ends it. */
export type Listening = Disposable & {
  /** The oldest that is kept of those that were not heard yet; undefined where all were. */
  next(): ToldUpdate | undefined;
  /** There is no such tenant any more, or the service ends. */
  readonly isOver: boolean;
};

/**
 * What plugins tell whoever listens, on this node. The newest are kept, for all listeners together: whoever is slower than
 * the plugins misses some, and nobody has a queue.
 */
export class Updates implements Disposable {
  /** By the keys of tenants; the one that was told something last is the last. */
  readonly #channels = new Map<string, Channel>();
  readonly #counts = { told: 0, refused: 0 };
  #bytes = 0;
  #listeners = 0;
  #closed = false;

  /** Since the start; refused are those that are too large. */
  get counts(): Readonly<Record<'told' | 'refused', number>> {
    return this.#counts;
  }

  tell(tenancy: Tenancy, plugin: string, { group, event, data, invocation }: Update, at = new Date()): void {
    if (tenancy.isGone || this.#closed) return;
    const told = { at: at.toISOString(), plugin, invocation, group, event, data };
    const text = isShallow(data) ? JSON.stringify(told) : undefined;
    const bytes = text === undefined ? 0 : Buffer.byteLength(text);
    if (text === undefined || bytes > UPDATE_BYTES) {
      this.#counts.refused += 1;
      return;
    }
    this.#counts.told += 1;
    const channel = this.#channelOf(tenancy);
    this.#channels.delete(tenancy.key);
    this.#channels.set(tenancy.key, channel);
    channel.told += 1;
    channel.kept.push({ number: channel.told, plugin, text });
    this.#weigh(channel, bytes);
    while (channel.kept.length > KEPT_MOST || channel.bytes > KEPT_BYTES) this.#dropOldest(channel);
    while (this.#bytes > ALL_BYTES) this.#makeRoom();
    for (const { hear } of channel.hearers) hear();
  }

  /** `hear` is called when there may be a next one. Throws `concurrency_limited` and `overloaded`. */
  listen(tenancy: Tenancy, wanted: Wanted, hear: () => void): Listening {
    const channel = this.#channelOf(tenancy);
    if (channel.hearers.size >= LISTENERS_EACH_MOST) {
      throw tooMany('concurrency_limited', 'of this tenant ', LISTENERS_EACH_MOST);
    }
    if (this.#listeners >= LISTENERS_MOST) throw tooMany('overloaded', '', LISTENERS_MOST);
    const hearer = { hear };
    channel.hearers.add(hearer);
    this.#listeners += 1;
    let heard = heardOf(channel, wanted.after);
    return {
      next: () => {
        const next = channel.kept.find(
          ({ number, plugin }) => number > heard && (wanted.plugin === undefined || plugin === wanted.plugin),
        );
        heard = next?.number ?? channel.told;
        return next && { id: `${channel.name}-${next.number}`, text: next.text };
      },
      get isOver() {
        return channel.isOver;
      },
      [Symbol.dispose]: () => {
        if (!channel.hearers.delete(hearer)) return;
        this.#listeners -= 1;
        if (channel.hearers.size === 0 && channel.kept.length === 0) this.#forget(tenancy.key, channel);
      },
    };
  }

  /** All that was said by plugins of a tenant that is gone. */
  forget(tenant: string): void {
    for (const [key, channel] of this.#channels) if (channel.tenant === tenant) this.#forget(key, channel);
  }

  /** Whoever listens is told that there is nothing more to come. */
  [Symbol.dispose](): void {
    this.#closed = true;
    for (const [key, channel] of this.#channels) this.#forget(key, channel);
  }

  #channelOf({ id: tenant, key }: Tenancy): Channel {
    const known = this.#channels.get(key);
    if (known !== undefined) return known;
    const name = randomBytes(4).toString('hex');
    const channel = { tenant, name, told: 0, kept: [], bytes: 0, hearers: new Set<Hearer>(), isOver: this.#closed };
    this.#channels.set(key, channel);
    return channel;
  }

  #forget(key: string, channel: Channel): void {
    if (this.#channels.get(key) === channel) this.#channels.delete(key);
    this.#weigh(channel, -channel.bytes);
    channel.kept = [];
    channel.isOver = true;
    for (const { hear } of channel.hearers) hear();
  }

  /** Of whoever has said nothing for the longest. */
  #makeRoom(): void {
    for (const [key, channel] of this.#channels) {
      if (channel.kept.length === 0) continue;
      this.#dropOldest(channel);
      if (channel.kept.length === 0 && channel.hearers.size === 0) this.#channels.delete(key);
      return;
    }
  }

  #dropOldest(channel: Channel): void {
    const oldest = channel.kept.shift();
    if (oldest !== undefined) this.#weigh(channel, -Buffer.byteLength(oldest.text));
  }

  #weigh(channel: Channel, bytes: number): void {
    channel.bytes += bytes;
    this.#bytes += bytes;
  }
}

function heardOf({ name, told }: Channel, after: string | undefined): number {
  if (after === undefined) return told;
  const [, of, number = ''] = /^([0-9a-f]{8})-(\d{1,15})$/.exec(after) ?? [];
  return of === name ? Math.min(Number(number), told) : 0;
}

function tooMany(code: 'concurrency_limited' | 'overloaded', whose: string, allowed: number): Failure {
  const limit = { name: 'listeners', allowed, observed: allowed + 1, unit: 'count' } as const;
  const words = `${allowed} callers ${whose}are listening to updates on this node, which is as many as may`;
  return new Failure(code, words, { limit, retryable: true, retryAfterMs: 5_000 });
}
