import type { Failure } from './failure.ts';

/** How a run ended. The run of a plugin never throws: what a plugin does wrong is a value. */
export type Outcome = (
  | {
      ok: true;
      /** JSON text, ready to be put into an answer. */
      output: string;
    }
  | { ok: false; failure: Failure }
) &
  Report;

/** What a run leaves behind, whatever its end. */
export type Report = {
  usage: Usage;
  /** Last progress the plugin told, 0 to 1; null where it told none. */
  progress: number | null;
  logs: LogLine[];
  /** Wall clock until the code was ready to run, and time spent waiting for host calls; in ms. */
  bootMs: number;
  hostMs: number;
};

export type Usage = {
  cpuMs: number;
  wallMs: number;
  /** Largest memory seen: V8 heap and buffers of an isolate, resident memory of a process tree. */
  peakMemoryBytes: number;
  hostCalls: number;
  outputBytes: number;
  logLines: number;
  /** Lines that were over a log limit and not kept. */
  logLinesDropped: number;
};

export type LogLevel = 'trace' | 'debug' | 'info' | 'warning' | 'error';

/** One line a plugin logged. `atMs` counts from the start of the run. The message is data and may hold anything. */
export type LogLine = { level: LogLevel; message: string; atMs: number };

/**
 * Whoever wants to know of a run while it is going on. All lines that are told are those of its report, in its order,
 * and the last progress is the one there. But the report is the truth: a run whose executor was lost through no fault
 * of its own is repeated, and then what the lost attempt had told so far is told, and is not in the report.
 */
export interface Watch {
  logged(lines: readonly LogLine[]): void;
  /** 0 to 1. */
  progressed(progress: number): void;
}

/** A watch that cannot harm the run: an error of its own stays its own. */
export function sheltered(watch: Watch): Watch {
  const shelter = (tell: () => void) => {
    try {
      tell();
    } catch {
      // The report says all of it once more.
    }
  };
  return {
    logged: (lines) => shelter(() => watch.logged(lines)),
    progressed: (progress) => shelter(() => watch.progressed(progress)),
  };
}

export const noUsage: Usage = Object.freeze({
  cpuMs: 0,
  wallMs: 0,
  peakMemoryBytes: 0,
  hostCalls: 0,
  outputBytes: 0,
  logLines: 0,
  logLinesDropped: 0,
});
