import { type Ending, FILE_BYTES } from '../../src/confinement/launcher.ts';
import { Failure, type FailureDetails } from '../../src/core/failure.ts';
import type { Limits } from '../../src/core/limits.ts';
import { DEEPEST, readAnswer } from './answer.ts';

export type Verdict = { ok: true; output: string } | { ok: false; failure: Failure };

export type Evidence = {
  stdout: Buffer;
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
 * What a raw plugin's run amounts to, if it was not us who ended it. The plugin's own error counts over the way it
 * ended, as in Stash; its output is kept with either.
 */
export function verdictOn({ stdout, ending, refusal, lastWords, program, limits }: Evidence): Verdict {
  if (ending === null) return failed('plugin_crashed', 'Ended together with the shell that watched over it');
  const { code, signal } = ending;
  if (refusal !== null) {
    const why = code === 127 ? 'the system cannot find what it needs to run' : 'the system refuses to run it';
    return failed('plugin_boot_failed', `Could not start ${JSON.stringify(program)}: ${why}`, { cause: refusal });
  }

  const answer = readAnswer(stdout);
  const output = answer.output === 'null' || answer.output === '""' ? {} : { output: answer.output };
  if (answer.kind === 'answer' && answer.error !== null) {
    const pluginError = { name: 'Error', message: answer.error.slice(0, LONGEST_ERROR) };
    return failed('plugin_error', 'The plugin answered with an error', { pluginError, ...output });
  }
  if (signal !== null) return killed(signal, ending, limits, output);
  if (code !== 0) {
    const words = lastWords === '' ? 'It logged nothing about it' : lastWords.slice(-LONGEST_ERROR);
    return failed('plugin_error', `exit status ${code}`, {
      pluginError: { name: `exit status ${code}`, message: words },
      ...output,
    });
  }
  if (answer.kind === 'answer') return { ok: true, output: answer.output };
  const preview = { output: JSON.stringify(answer.preview) };
  const why = answer.kind === 'cut' ? 'is the beginning of a JSON object and breaks off' : TOO_DEEP;
  return failed('plugin_invalid_output', `Its answer ${why}`, preview);
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

const TOO_DEEP = `is nested deeper than ${DEEPEST} levels`;
/** In characters. */
const LONGEST_ERROR = 16_384;
