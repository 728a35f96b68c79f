import type { Invocation } from './invocation.ts';
import type { Isolation } from './isolation.ts';
import type { Outcome } from './outcome.ts';
import type { Plugin } from './plugin.ts';
import type { Residents } from './resident.ts';
import type { Servers } from './serving.ts';

/** A way to run programs. One folder below `runtimes/` implements it, host side and guest side. */
export interface Runtime extends AsyncDisposable {
  /** What its programs run in. */
  readonly kind: RuntimeKind;

  /** Whether this runtime is the one for the plugin's program. */
  runs(plugin: Plugin): boolean;

  /**
   * Runs one invocation to its end. Never rejects for anything a plugin does. When `signal` aborts, the run is
   * stopped, whatever it takes, and its failure is `signal.reason` (a Failure).
   */
  run(invocation: Invocation, signal: AbortSignal): Promise<Outcome>;

  /** How this runtime treats the plugin and why, in words for its author. */
  explain(tenant: string, plugin: Plugin): Promise<Explanation>;

  /** Forgets what it holds for plugins that are no longer in the catalogue; running invocations go on. */
  retain(tenant: string, plugins: ReadonlySet<Plugin>): void;

  /** Ends what waits for calls of a tenant: what its plugins may has changed. Running invocations go on. */
  dismiss?(tenant: string): void;

  /** Why it can run nothing now, in words; null, or no such method, where it can. */
  unready?(): string | null;

  /** Where its programs stay between calls. */
  readonly residents?: Residents;

  /** Where its programs answer requests of their own. */
  readonly servers?: Servers;

  /** What it runs programs in, as it was proven last. */
  readonly isolation: Isolation;

  /** Proves it anew, by trying to get out. Takes a second or two; does not reject. */
  attest(): Promise<Isolation>;

  /** What it has running now, by name, for the metrics. */
  gauges(): Record<string, number>;
}

/** Executors run embedded code, processes external programs, residents those that stay, servers those that answer requests. */
export const RUNTIME_KINDS = ['processes', 'executors', 'residents', 'servers'] as const;
export type RuntimeKind = (typeof RUNTIME_KINDS)[number];

export type Explanation = { runtime: string; way: string; because: string };
