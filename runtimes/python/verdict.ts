import { Failure } from '../../src/core/failure.ts';
import type { Limits } from '../../src/core/limits.ts';
import { cut } from '../../src/core/text.ts';
import { tooLong } from '../../src/programs/over-limit.ts';
import type { Fault, FrameOf } from './heard.ts';

export type Verdict = { ok: true; output: string } | { ok: false; failure: Failure };

/** What the result of a run amounts to. Contract: Dispatcharr `apps/plugins/loader.py`, but that nothing wrong is told as done. */
export function verdictOn(
  result: FrameOf<'result'>,
  limits: Pick<Limits, 'outputBytes'>,
  redacted: (text: string) => string,
): Verdict {
  if (result.error !== undefined) return { ok: false, failure: failureOf(result.error, limits) };
  const { output = '' } = result;
  const bytes = Buffer.byteLength(output);
  if (bytes > limits.outputBytes) return { ok: false, failure: tooLong(limits.outputBytes, bytes) };
  const read = parsed(output);
  if (read === null) return failed('plugin_invalid_output', 'What it returned cannot be told as JSON');
  const words = ownError(read.value);
  if (words === null) return { ok: true, output };
  const pluginError = { name: STATUS_ERROR, message: redacted(words) };
  return failed('plugin_error', 'The plugin answered with an error', { pluginError, output });
}

/** What the failure of a run is called whose plugin has returned an error instead of raising one. */
export const STATUS_ERROR = 'StatusError';

export function failureOf(fault: Fault, { outputBytes }: Pick<Limits, 'outputBytes'>): Failure {
  const { kind, name, message, stack, bytes } = fault;
  const pluginError = {
    name: cut(name, NAME_LETTERS),
    message: cut(message, WORDS_LETTERS),
    ...(stack === '' ? {} : { stack: stack.slice(-WORDS_LETTERS) }),
  };
  switch (kind) {
    case 'too_large':
      return tooLong(outputBytes, Math.max(outputBytes + 1, Math.round(bytes ?? 0)));
    case 'unserialisable':
      return new Failure('plugin_invalid_output', 'What it returned cannot be told as JSON', { pluginError });
    case 'unknown_task':
      return new Failure('not_found', 'The plugin has no task of that name');
    case 'cancelled':
      return new Failure('cancelled', 'The run was cancelled');
    case 'exit':
      return new Failure('plugin_error', 'The plugin asked for the end of its process', { pluginError });
    case 'missing':
      return new Failure('plugin_error', 'The plugin has nothing that could be run', { pluginError });
    default:
      return new Failure('plugin_error', 'The plugin has raised an exception', { pluginError });
  }
}

/** Null where it returned no error of its own. */
function ownError(output: unknown): string | null {
  if (typeof output !== 'object' || output === null || !('status' in output) || output.status !== 'error') return null;
  const { message, error } = output as { message?: unknown; error?: unknown };
  for (const words of [message, error]) if (typeof words === 'string') return cut(words, WORDS_LETTERS);
  return '';
}

/** Null for what is no JSON: it may have been written by the plugin, past its host. */
function parsed(text: string): { value: unknown } | null {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return null;
  }
}

function failed(code: Failure['code'], message: string, details: Failure['details'] = {}): Verdict {
  return { ok: false, failure: new Failure(code, message, details) };
}

const NAME_LETTERS = 200;
const WORDS_LETTERS = 16_384;
