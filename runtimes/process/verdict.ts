import { type Ending, FILE_BYTES } from '../../src/confinement/launcher.ts';
import { Failure, type FailureDetails } from '../../src/core/failure.ts';
import type { Limits } from '../../src/core/limits.ts';
import { DEEPEST, PREVIEW, readAnswer } from './answer.ts';

export type Verdict = { ok: true; output: string } | { ok: false; failure: Failure };

/** How it ended, if it was not us who ended it. */
export type Evidence = {
  /** Null where the launcher was killed and could not tell. */
  ending: Ending | null;
  /** The shell's words where it could not start the program; null where it could. */
  refusal: string | null;
  /** What it logged last. */
  lastWords: string;
  /** The program as the manifest names it. */
  program: string;
  limits: Pick<Limits, 'cpuMs'>;
};

/**
 * What a raw plugin's run amounts to. The plugin's own error counts over the way it ended, as in Stash; its output is
 * kept with either.
 */
export function verdictOn(stdout: Buffer, evidence: Evidence): Verdict {
  const unstarted = verdictOnStart(evidence);
  if (unstarted !== null) return unstarted;
  const answer = readAnswer(stdout);
  if (answer.kind === 'answer' && answer.error !== null) return answeredError(answer.error, answer.output);
  const broken = verdictOnEnd(evidence, outputOf(answer.output));
  if (broken !== null) return broken;
  if (answer.kind === 'answer') return { ok: true, output: answer.output };
  return invalid(answer.kind === 'cut' ? BREAKS_OFF : `Its answer ${TOO_DEEP}`, answer.preview);
}

/** Null where there is a program that has ended, in whatever way. */
export function verdictOnStart({ ending, refusal, program }: Evidence): Verdict | null {
  if (ending === null) return failed('plugin_crashed', 'Ended together with the shell that watched over it');
  if (refusal === null) return null;
  const why = ending.code === 127 ? 'the system cannot find what it needs to run' : 'the system refuses to run it';
  return failed('plugin_boot_failed', `Could not start ${JSON.stringify(program)}: ${why}`, { cause: refusal });
}

/** Null where it ended as a program does that is content with itself. */
export function verdictOnEnd({ ending, lastWords, limits }: Evidence, output: FailureDetails): Verdict | null {
  if (ending === null) return null;
  const { code, signal } = ending;
  if (signal !== null) return killed(signal, ending, limits, output);
  if (code === 0) return null;
  const words = lastWords === '' ? 'It logged nothing about it' : lastWords.slice(-LONGEST_ERROR);
  return failed('plugin_error', `exit status ${code}`, {
    pluginError: { name: `exit status ${code}`, message: words },
    ...output,
  });
}

/** `error` in the plugin's words, `output` as JSON text. */
export function answeredError(error: string, output: string): Verdict {
  const pluginError = { name: 'Error', message: error.slice(0, LONGEST_ERROR) };
  return failed('plugin_error', 'The plugin answered with an error', { pluginError, ...outputOf(output) });
}

/** It has answered what its protocol does not allow; of that the beginning is shown. */
export function invalid(message: string, preview: string): Verdict {
  const output = preview === '' ? {} : { output: JSON.stringify(preview.slice(0, PREVIEW)) };
  return failed('plugin_invalid_output', message, output);
}

function outputOf(output: string): FailureDetails {
  return output === 'null' || output === '""' ? {} : { output };
}

/** It died of a signal. The kernel has sent it where that belongs to one of our limits. */
function killed(signal: string, { cpuMs }: Ending, limits: Pick<Limits, 'cpuMs'>, output: FailureDetails): Verdict {
  // SIGKILL follows where SIGXCPU was ignored.
  if (signal === 'SIGXCPU' || (signal === 'SIGKILL' && cpuMs > limits.cpuMs)) {
    const limit = { name: 'cpuMs', allowed: limits.cpuMs, observed: cpuMs, unit: 'ms' } as const;
    return failed('plugin_cpu_exceeded', 'Used more processor time than it may', { limit, ...output });
  }
  if (signal === 'SIGXFSZ') {
    const limit = { name: 'fileBytes', allowed: FILE_BYTES, observed: FILE_BYTES, unit: 'bytes' } as const;
    return failed('plugin_resource_exceeded', 'Wrote a larger file than it may', { limit, ...output });
  }
  return failed('plugin_crashed', `Died of ${signal}`, output);
}

function failed(code: Failure['code'], message: string, details: FailureDetails = {}): Verdict {
  return { ok: false, failure: new Failure(code, message, details) };
}

export const BREAKS_OFF = 'Its answer is the beginning of a JSON object and breaks off';
export const TOO_DEEP = `is nested deeper than ${DEEPEST} levels`;
/** In characters. */
const LONGEST_ERROR = 16_384;
