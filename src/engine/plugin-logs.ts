import type { LogLine } from '../core/outcome.ts';
import { stripped } from '../core/text.ts';
import type { Logging, Settled } from './invoker.ts';
import type { Tenancy } from './tenancy.ts';

/** A line among those of all plugins. */
export type PluginLog = {
  at: Date;
  level: LogLine['level'];
  message: string;
  plugin: string;
  /** The run that it is of. */
  invocation: string;
};

/** What is kept of a tenant, and of how many tenants. */
const LINES_MOST = 30;
const LINE_CHARACTERS = 2_000;
const TENANTS_MOST = 1_000;
/** Runs that have told lines and not settled. */
const RUNS_MOST = 10_000;

type Hear = (logs: readonly PluginLog[]) => void;

/**
 * What the plugins of each tenant have logged last on this node. Runs that somebody watches are heard while they go on,
 * all others when they settle. For people who look on: what is to be kept is with the jobs.
 */
export class PluginLogs {
  /** By the keys of tenants; the one that logged last is the last. */
  readonly #kept = new Map<string, PluginLog[]>();
  /** How many lines a run has told before its end. */
  readonly #told = new Map<string, number>();
  readonly #hearers = new Map<string, Set<Hear>>();

  logged({ plugin, invocation, tenancy }: Logging, lines: readonly LogLine[]): void {
    if (this.#told.size < RUNS_MOST) {
      this.#told.set(invocation, (this.#told.get(invocation) ?? 0) + lines.length);
      this.#add(tenancy, logsOf({ plugin, invocation }, lines, Date.now()));
    }
  }

  settled({ id, request: { plugin, watch }, outcome, queueMs, totalMs }: Settled, tenancy: Tenancy | undefined): void {
    if (outcome.ok && outcome.logs.length === 0 && watch === undefined) return;
    if (tenancy === undefined) return;
    const told = this.#told.get(id) ?? 0;
    this.#told.delete(id);
    const now = Date.now();
    const begunAt = now - (totalMs - queueMs);
    const whose = { plugin, invocation: id };
    const logs = logsOf(whose, outcome.logs.slice(told), ({ atMs }) => Math.min(begunAt + atMs, now));
    const error = outcome.ok ? undefined : outcome.failure.ownWords;
    if (error !== undefined) {
      logs.push({ at: new Date(now), level: 'error', message: cut(`Plugin returned error: ${error}`), ...whose });
    }
    this.#add(tenancy, logs);
  }

  /** The newest first. */
  newest({ key }: Tenancy): PluginLog[] {
    return [...(this.#kept.get(key) ?? [])].reverse();
  }

  /** Those of one plugin that are among the newest of its tenant; the oldest first. */
  newestOf({ key }: Tenancy, plugin: string): PluginLog[] {
    return (this.#kept.get(key) ?? []).filter((one) => one.plugin === plugin);
  }

  /** `hear` is told of lines as they come, the oldest first. */
  hear({ key }: Tenancy, hear: Hear): Disposable {
    const hearers = this.#hearers.get(key) ?? new Set();
    this.#hearers.set(key, hearers);
    hearers.add(hear);
    return {
      [Symbol.dispose]: () => {
        hearers.delete(hear);
        if (hearers.size === 0 && this.#hearers.get(key) === hearers) this.#hearers.delete(key);
      },
    };
  }

  #add({ key }: Tenancy, logs: readonly PluginLog[]): void {
    if (logs.length === 0) return;
    const kept = this.#kept.get(key) ?? [];
    this.#kept.delete(key);
    this.#kept.set(key, [...kept, ...logs].slice(-LINES_MOST));
    if (this.#kept.size > TENANTS_MOST) this.#kept.delete(this.#kept.keys().next().value as string);
    for (const hear of this.#hearers.get(key) ?? []) hear(logs);
  }
}

/** Of many lines only those that can be kept. */
function logsOf(
  whose: Pick<PluginLog, 'plugin' | 'invocation'>,
  lines: readonly LogLine[],
  at: number | ((line: LogLine) => number),
): PluginLog[] {
  return lines.slice(-LINES_MOST).map((line) => ({
    ...whose,
    at: new Date(typeof at === 'number' ? at : at(line)),
    level: line.level,
    message: cut(line.message),
  }));
}

function cut(message: string): string {
  return stripped(message, LINE_CHARACTERS);
}
