import { Failure } from '../core/failure.ts';

/** What a plugin did to deserve it, newest last. */
export type Evidence = { at: Date; code: string; message: string };

type Record = { evidence: Evidence[]; until: number; times: number };

export type QuarantineOptions = {
  /** So many offences inside `windowMs` are too many. */
  offences: number;
  windowMs: number;
  /** The first quarantine lasts so long; each further one twice as long as the one before, up to `longestMs`. */
  firstMs: number;
  longestMs: number;
};

/**
 * Plugins that keep killing what they run in are refused for a while: each time costs an executor, and everybody
 * else's patience. Time comes in as a value, `now` in ms.
 */
export class Quarantine {
  readonly #options: QuarantineOptions;
  readonly #records = new Map<string, Record>();

  constructor(options: QuarantineOptions) {
    this.#options = options;
  }

  /** Throws `plugin_quarantined` while the plugin is in quarantine. */
  check(key: string, now: number): void {
    if (this.#records.size === 0) return;
    const record = this.#records.get(key);
    if (record === undefined || record.until <= now) return;
    const again = new Date(record.until).toISOString();
    const seen = record.evidence.map((one) => `${one.at.toISOString()} ${one.code}`).join(', ');
    throw new Failure('plugin_quarantined', `It broke what it runs in (${seen}); it is tried again at ${again}`, {
      retryAfterMs: record.until - now,
    });
  }

  /** Writes down that a plugin had to be ended together with what it ran in. */
  accuse(key: string, failure: Failure, now: number): void {
    const { offences, windowMs, firstMs, longestMs } = this.#options;
    const record = this.#records.get(key) ?? { evidence: [], until: 0, times: 0 };
    record.evidence = record.evidence.filter((one) => one.at.getTime() > now - windowMs);
    record.evidence.push({ at: new Date(now), code: failure.code, message: failure.message });
    if (record.evidence.length >= offences) {
      record.until = now + Math.min(longestMs, firstMs * 2 ** record.times);
      record.times += 1;
    }
    this.#records.set(key, record);
  }

  /** When the plugin is tried again, and why it has to wait; null while it may run. */
  sentence(key: string, now: number): { until: Date; evidence: readonly Evidence[] } | null {
    const record = this.#records.get(key);
    if (record === undefined || record.until <= now) return null;
    return { until: new Date(record.until), evidence: record.evidence };
  }

  /** A plugin that was changed starts with a clean record. */
  forget(key: string): void {
    this.#records.delete(key);
  }

  /** As do all plugins of a tenant that is gone: another one may get its name. */
  forgetAll(tenant: string): void {
    for (const key of this.#records.keys()) if (key.startsWith(quarantineKey(tenant, ''))) this.#records.delete(key);
  }
}

/** The name of a plugin of a tenant in the quarantine. */
export function quarantineKey(tenant: string, plugin: string): string {
  return `${tenant}\n${plugin}`;
}
