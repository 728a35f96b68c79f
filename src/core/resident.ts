import type { Failure } from './failure.ts';
import type { Grant } from './grant.ts';
import type { Endpoint } from './invocation.ts';
import type { Limits } from './limits.ts';
import type { LogLine } from './outcome.ts';
import type { Plugin } from './plugin.ts';
import type { Portrait } from './portrait.ts';
import type { Session } from './session.ts';

/**
 * A program that stays between calls: with what it has in memory, its threads and its children, one for each plugin of
 * each tenant.
 */
export interface Residents {
  /** Starts it, where it is not there. Rejects with a Failure that says why it cannot be. */
  start(residency: Residency, signal: AbortSignal, room: Room): Promise<void>;
  /** Ends it, where it is there: it is told why, and has a time to end by itself. Resolves when nothing is left of it. */
  stop(tenant: string, plugin: string, reason: StopReason): Promise<void>;
  /** Ends those of a tenant that are of none of these; `reason` is for those whose plugin is no longer there at all. */
  retain(tenant: string, plugins: ReadonlySet<Plugin>, reason: StopReason): Promise<void>;
  /** Ends it, if it is there, and does something before any other can be started in its place. */
  vacate(tenant: string, plugin: string, reason: StopReason, does: () => Promise<void>): Promise<void>;
  /** Forgets how often it has died: it may be started at once. */
  pardon(tenant: string, plugin: string): void;
  /** Undefined where nothing is known of any. */
  state(tenant: string, plugin: string): ResidentState | undefined;
  /** The newest lines that it has logged, whatever run they belong to; the oldest first. */
  logs(tenant: string, plugin: string): readonly ResidentLine[];
  /** Whether there is one of the tenant's. */
  houses(tenant: string): boolean;
  /** How many are in which state, and what they use, by name. */
  gauges(): Record<string, number>;
}

/** Where it goes: `free`, only where there is room; `made`, also where one that is idle has to end for it. */
export type Room = 'free' | 'made';

/** Why it is ended. `shutdown`: nobody needs it now, or the service ends; it may be started again. */
export type StopReason = 'disable' | 'delete' | 'reload' | 'shutdown';

export type ResidentState = {
  /** `resting`: it has died, and is started again at `nextAt`. `ended`: it was stopped, or not needed. */
  is: 'starting' | 'running' | 'stopping' | 'resting' | 'ended';
  since: Date;
  /** Since it is up, or was. */
  startedAt: Date | null;
  residentBytes: number;
  cpuMs: number;
  /** Under way now, and since it was first started. */
  running: number;
  runs: number;
  /** How often it has died lately, and of what the last time. */
  deaths: number;
  failure: Failure | null;
  nextAt: Date | null;
};

/** `at` is when it came; `invocation` is null for what it logs of its own accord. */
export type ResidentLine = Pick<LogLine, 'level' | 'message'> & { at: Date; invocation: string | null };

/** All that a resident is started with, and whom it may turn to. */
export type Residency = {
  tenant: string;
  plugin: Plugin;
  grant: Grant;
  limits: Limits;
  endpoint: Endpoint;
  /** Throws where this is no longer what ought to run: the plugin was removed, disabled or changed meanwhile. */
  assertWanted(): void;
  /** Its folders, ready to be used. */
  home(): Promise<Home>;
  /**
   * A way to its application and to what it was granted, for what it does beside its runs. `refused` is told of each host
   * that it was kept from, in a sentence for its log.
   */
  openSession(stop: (failure: Failure) => void, refused: (words: string) => void): Session;
  desk: Desk;
  /** Told when it has died, or could not be started. */
  died(failure: Failure): void;
};

/** Folders of one resident alone, absolute and without links. */
export type Home = {
  /** A copy of the plugin's folder as it is by now, with what the program has written since it is so. */
  code: string;
  /** What lasts as long as the plugin is there, whatever its version. */
  data: string;
};

/** What a resident may ask of the service, and tell it, whenever it likes. None of it rejects with anything but a Failure. */
export interface Desk {
  /** What is stored for the plugin, in clear. */
  settings(): Readonly<Record<string, unknown>>;
  /** Those of its values that nobody else is to see. */
  secrets(): readonly string[];
  /** Stores all of its settings. */
  configure(settings: Record<string, unknown>): Promise<void>;
  /** Told when it has said what it is. Throws a Failure where it must not be that. */
  described(portrait: Portrait): void;
  /** Something for whoever listens. */
  updated(update: Update): void;
  /** Runs a task of its own as a job; resolves with the id of that. */
  enqueue(wish: OwnJob): Promise<string>;
}

/** Before the name of a task of a plugin's own, which nobody but itself may have run: its actions have names without. */
export const OWN_TASK = 'shared_task:';

/** What a plugin tells whoever listens. Contract: Dispatcharr `core/utils.py: send_websocket_update`. */
export type Update = { group: string; event: string; data: unknown; invocation: string | null };

export type OwnJob = { task: string; args: Record<string, unknown>; delayMs: number; invocation: string | null };
