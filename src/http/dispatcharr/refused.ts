import { Failure, type FailureCode } from '../../core/failure.ts';
import { stripped } from '../../core/text.ts';
import { HttpFailure, STATUS } from '../errors.ts';

const ERROR_CHARACTERS = 4_096;

/** A refusal in the words of the host, and in the shape that it has at that place. */
export class Refused extends HttpFailure {
  readonly body: Readonly<Record<string, unknown>>;

  constructor(status: number, body: Readonly<Record<string, unknown>>, failure: Failure) {
    super(status, failure);
    this.body = body;
  }
}

/** The shape that the routes of plugins have. */
export function refused(status: number, error: string, code: FailureCode = 'invalid_request'): Refused {
  return new Refused(status, { success: false, error }, new Failure(code, error));
}

/** What `failure` says, after `begin`: with the status of the host, which has one for all that goes wrong inside. */
export function failed(failure: Failure, begin = ''): Refused {
  const error = stripped(begin + errorOf(failure), ERROR_CHARACTERS);
  return new Refused(hostStatusOf(failure), { success: false, error }, failure);
}

/** The plugin's own words where it had any; else ours, with what was allowed and what was seen. */
export function errorOf({ details: { pluginError, limit }, message }: Failure): string {
  // Of that, all it has said is a number.
  if (pluginError?.name === 'SystemExit') return `${message} (SystemExit: ${pluginError.message})`;
  if (pluginError !== undefined) return pluginError.message;
  if (limit === undefined) return message;
  const { name, allowed, observed, unit } = limit;
  return `${message} (${name}: ${allowed} allowed, ${observed} observed, ${unit})`;
}

/** What its host answers with 500 is told apart here: a plugin's fault is 502 or 504, and comes back as what it was. */
function hostStatusOf({ code }: Failure): number {
  const status = STATUS[code];
  return status === 502 || status === 504 ? 500 : status;
}
