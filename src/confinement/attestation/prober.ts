import type { FailureCode } from '../../core/failure.ts';

/** A program of ours that is to be run where plugins' are. */
export type Probe = {
  /**
   * `python` and `node` as plugins would have them; `executor` is what an executor is started as, with its flags and
   * permissions, and this file in place of its own.
   */
  by: 'python' | 'node' | 'executor';
  /** Its folder is to be there for it, to be read. */
  file: string;
  args: readonly string[];
  /** Beyond this it has to be ended. */
  residentMb: number;
};

export type ProbeRun = {
  /** The text that it printed, where it came to its end; null where it was ended or did not start. */
  stdout: string | null;
  /** Why it was ended, or did not start. */
  failure: { code: FailureCode; message: string } | null;
};

/** Runs probes exactly as one runtime runs programs. */
export interface Prober {
  /** How they are confined, e.g. `bubblewrap`. */
  readonly tier: string;
  /** What control groups bound of them; none where there are no such groups. */
  readonly controllers?: readonly string[];
  /** Whether the configuration asks for no more than that. */
  readonly isWish: boolean;
  /** Names of variables that a program is given, beside those that all may have. */
  readonly environment: readonly string[];
  /** Descriptors that a program is given. */
  readonly descriptors: readonly number[];
  /** Does not reject, and leaves nothing of it behind that it could end. */
  run(probe: Probe): Promise<ProbeRun>;
  /** Where memory is bounded by who watches the real thing: has that run this embedded plugin, which takes too much. */
  hoard?(file: string, residentMb: number): Promise<ProbeRun>;
}
