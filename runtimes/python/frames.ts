/**
 * What we and the host of a resident say to each other: one JSON object a line, in UTF-8, ours on its standard input and its
 * own on its standard output, until it moves both out of the plugin's way. docs/WIRE.md tells it to whoever writes a host in
 * another language. What comes from there is a plugin's, as it can write where its host writes: nothing of it is believed
 * before it was looked at (`heard.ts`).
 */
import type { Action } from '../../src/core/portrait.ts';

/** What we say. */
export type ToGuest =
  /** Once, and first. It answers `ready` or `failed`. */
  | {
      t: 'boot';
      /** Of the plugin, which its module's name is made of. */
      key: string;
      /** The folder with its code, and the one that it lies in: absolute, and as the program sees them. */
      dir: string;
      pluginsDir: string;
      /** What stands in for the names of its application: `off` has none of them. */
      shim: 'on' | 'off';
      /** Of the application; it is what `version` says. */
      version: string;
      /** The application itself, where it is on this machine: the shim is left out then. */
      django: { settingsModule: string } | null;
    }
  /** Answered by a `result` of the same id. `settings` has the defaults in it. */
  | {
      t: 'run';
      id: number;
      action: string;
      params: unknown;
      settings: Record<string, unknown>;
      actions: Record<string, Action>;
      /** The most that its output may have as JSON, in bytes. */
      outputBytes: number;
    }
  /** The same for a function that it has marked as a task. */
  | { t: 'task'; id: number; name: string; args: unknown[]; kwargs: Record<string, unknown>; outputBytes: number }
  /**
   * `ask`: the run is told, if it listens. `interrupt`: an exception is raised in it, as often as this comes. The `result`
   * comes all the same.
   */
  | { t: 'cancel'; id: number; how: 'ask' | 'interrupt' }
  /** It lets the plugin stop, and answers `stopped`. Nothing else comes after it. */
  | {
      t: 'stop';
      reason: string;
      settings: Record<string, unknown>;
      actions: Record<string, Action>;
    }
  /** How busy it is beside its runs; answered by `look` of the same id. */
  | { t: 'look'; id: number }
  /** To an `ask` of the same id. */
  | { t: 'answer'; id: number; ok: unknown }
  | { t: 'answer'; id: number; error: string };

/** What it says. `run` is the id of the run that something belongs to; null where it is of none. */
export type FromGuest =
  /** `portrait` is what the class has, unjudged; `tasks` are the names of functions that were marked. */
  | { t: 'ready'; portrait: RawPortrait; tasks: string[]; runs: boolean; language: string }
  /** It could not be loaded; the process ends. */
  | { t: 'failed'; error: GuestError }
  /** `output` is JSON text, so that it stays as it is: not all of its numbers are numbers here. */
  | { t: 'result'; id: number; cpuMs: number; listens: boolean; output: string }
  | { t: 'result'; id: number; cpuMs: number; listens: boolean; error: GuestError }
  | { t: 'log'; run: number | null; level: string; text: string }
  | { t: 'progress'; run: number; value: number }
  | { t: 'update'; run: number | null; group: string; event: string; data: unknown }
  /** The row of its own: `{ key, name, version, description, enabled, everEnabled, settings }`. */
  | { t: 'ask'; id: number; run: number | null; what: 'config' }
  | { t: 'ask'; id: number; run: number | null; what: 'configure'; settings: Record<string, unknown> }
  /** Answered with the id of the job. */
  | {
      t: 'ask';
      id: number;
      run: number | null;
      what: 'enqueue';
      task: string;
      args: unknown[];
      kwargs: Record<string, unknown>;
      delayMs: number;
    }
  | { t: 'look'; id: number; threads: number; children: number }
  /** `called` is what of the plugin was run for it; null where it has nothing. The process exits at once. */
  | { t: 'stopped'; called: 'stop' | 'run' | null; error: GuestError | null };

export type RawPortrait = {
  name: unknown;
  version: unknown;
  description: unknown;
  author: unknown;
  help_url: unknown;
  fields: unknown;
  actions: unknown;
};

/**
 * How a run went wrong. `error`: it raised something. `permission`: a PermissionError. `exit`: it asked for the end of the
 * process, which it did not get. `arity`, `missing`: there is no `run`, or none that takes what it is given. `unserialisable`
 * and `too_large`: what it returned cannot be told. `cancelled`: it ended as it was asked to. `unknown_task`: no function was
 * marked with that name.
 */
export type GuestError = {
  kind:
    | 'error'
    | 'permission'
    | 'exit'
    | 'arity'
    | 'missing'
    | 'unserialisable'
    | 'too_large'
    | 'cancelled'
    | 'unknown_task';
  name: string;
  message: string;
  stack: string;
  /** Of `too_large`, how long it would have been. */
  bytes?: number;
};
