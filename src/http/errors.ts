/**
 * Failures as HTTP: RFC 9457 problem documents. The status says who must act, `code` says what happened. Whatever is
 * not a Failure is a bug of ours: opaque to the caller, whole in the log.
 */
import { randomUUID } from 'node:crypto';
import type { FastifyError, FastifyReply, FastifyRequest, FastifySchemaValidationError } from 'fastify';
import { Failure, type FailureCode, type FailureDetails } from '../core/failure.ts';
import { stripped } from '../core/text.ts';
import type { AppOptions } from './app.ts';
import { ALLOWED } from './patterns.ts';
import { rateLimit } from './rate-limit.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What the body must be, in words, where that is not JSON. */
    takes?: string;
    /** Each answer of this route is about an invocation, and has an id for it. */
    invokes?: boolean;
  }
  interface FastifyRequest {
    /** The id of the invocation that it has led to; '' for none so far. */
    invocation: string;
  }
}

/** A new code does not compile until it has a status. */
export const STATUS = {
  invalid_request: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  idempotency_key_reused: 422,
  plugin_disabled: 409,
  gone: 410,
  payload_too_large: 413,
  package_rejected: 422,
  manifest_rejected: 422,
  rate_limited: 429,
  concurrency_limited: 429,
  queue_full: 429,
  quota_exceeded: 429,
  cancelled: 409,
  plugin_error: 502,
  plugin_invalid_output: 502,
  plugin_output_too_large: 502,
  plugin_boot_failed: 502,
  plugin_memory_exceeded: 502,
  plugin_resource_exceeded: 502,
  plugin_crashed: 502,
  plugin_cpu_exceeded: 504,
  plugin_timeout: 504,
  executor_lost: 503,
  overloaded: 503,
  queue_timeout: 503,
  draining: 503,
  plugin_quarantined: 503,
  sandbox_unavailable: 503,
  application_error: 502,
  source_failed: 502,
  hook_loop: 508,
  internal: 500,
} as const satisfies Record<FailureCode, number>;

/** Short enough to be read, long enough to be of use. */
const MESSAGE_CHARACTERS = 4_096;
const STACK_CHARACTERS = 16_384;

/** What the HTTP side knows beyond the failure itself. */
export type Circumstances = {
  /** Where HTTP has a better word than our table, e.g. 405 for `invalid_request`. */
  status?: number;
  invocation?: string;
  plugin?: { id: string; version: string | null };
  /** Further members, e.g. usage and timings. */
  more?: Record<string, unknown>;
};

export type Problem = { status: number; text: string; headers: Record<string, string> };

/** The answer that a failure is. */
export function problem(failure: Failure, { status, invocation, plugin, more }: Circumstances = {}): Problem {
  const { code, details } = failure;
  const answer = {
    type: `/problems/${code}`,
    title: titleOf(code),
    status: status ?? STATUS[code],
    detail: stripped(failure.message, MESSAGE_CHARACTERS),
    code,
    blame: failure.blame,
    hint: failure.hint,
    invocation,
    retryable: details.retryable ?? false,
    retryAfterMs: details.retryAfterMs,
    limit: details.limit,
    errors: details.where?.map(({ at, problem: detail }) => ({ pointer: at, detail })),
    plugin,
    pluginError: ownWords(details),
    rung: details.rung,
    ...more,
  };
  const json = JSON.stringify(answer);
  // The output is JSON text already.
  const text = details.output === undefined ? json : `${json.slice(0, -1)},"output":${details.output}}`;
  const headers: Record<string, string> = {
    'content-type': 'application/problem+json; charset=utf-8',
    'x-content-type-options': 'nosniff',
    'isopod-error-code': code,
  };
  if (details.retryAfterMs !== undefined || answer.status === 429 || BRIEFLY.has(code)) {
    headers['retry-after'] = String(Math.max(1, Math.ceil((details.retryAfterMs ?? 1_000) / 1_000)));
  }
  if (answer.status === 429 && details.limit !== undefined) {
    const { name, allowed } = details.limit;
    Object.assign(headers, rateLimit(name, { allowed, left: 0, resetMs: details.retryAfterMs ?? 1_000 }));
  }
  if (code === 'unauthenticated') headers['www-authenticate'] = 'Bearer realm="isopod"';
  return { status: answer.status, text, headers };
}

/** 503s that pass by themselves; a missing layer of confinement does not. */
const BRIEFLY: ReadonlySet<FailureCode> = new Set([
  'executor_lost',
  'overloaded',
  'queue_timeout',
  'draining',
  'plugin_quarantined',
]);

export function titleOf(code: FailureCode): string {
  const words = code.replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function ownWords({ pluginError }: FailureDetails) {
  if (pluginError === undefined) return undefined;
  return {
    name: stripped(pluginError.name, 200),
    message: stripped(pluginError.message, MESSAGE_CHARACTERS),
    stack: pluginError.stack === undefined ? undefined : stripped(pluginError.stack, STACK_CHARACTERS),
  };
}

export function sendProblem(reply: FastifyReply, failure: Failure, circumstances?: Circumstances): FastifyReply {
  const { status, text, headers } = problem(failure, circumstances);
  return reply.code(status).headers(headers).send(text);
}

/** A failure for which HTTP has a better word than our table. */
export class HttpFailure extends Failure {
  readonly status: number;

  constructor(status: number, { code, message, details }: Failure) {
    super(code, message, details);
    this.status = status;
  }
}

/** For what is thrown on the way: our own refusals, and Fastify's. */
export function errorHandler(requestBytes: number, bug: AppOptions['bug']) {
  return (error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const { failure, status } = caught(error, request, requestBytes);
    const invocation = request.routeOptions.config.invokes === true ? request.invocation || randomUUID() : undefined;
    if (failure.code === 'internal') bug(failure, invocation);
    const circumstances: Circumstances = { status };
    if (invocation !== undefined) {
      circumstances.invocation = invocation;
      reply.headers({ 'isopod-invocation': circumstances.invocation, 'server-timing': NO_TIME });
    }
    return sendProblem(reply, failure, circumstances);
  };
}

/** Whatever was thrown as a failure, with the status that it has. */
export function caught(
  error: unknown,
  request: FastifyRequest,
  requestBytes: number,
): { failure: Failure; status: number } {
  if (error instanceof Failure) {
    return { failure: error, status: error instanceof HttpFailure ? error.status : STATUS[error.code] };
  }
  const failure = translated(error as FastifyError, requestBytes, request);
  const { statusCode = 500 } = error as FastifyError;
  return { failure, status: statusCode < 500 ? statusCode : STATUS[failure.code] };
}

/** Of an invocation that was refused before it was one. */
const NO_TIME = 'queue;dur=0, boot;dur=0, run;dur=0, host;dur=0';

function translated(error: FastifyError, requestBytes: number, request: FastifyRequest): Failure {
  if (error.validation !== undefined) {
    const where = telling(error.validation).map((one) => {
      const unknown = one.params.additionalProperty;
      const at = typeof unknown === 'string' ? `${one.instancePath}/${escaped(unknown)}` : one.instancePath;
      const allowed = one.params.allowedValues;
      const choice = Array.isArray(allowed) ? `: ${allowed.join(', ')}` : '';
      return {
        at: stripped(at, 200),
        problem: typeof unknown === 'string' ? 'is not known here' : (wordsOf(one) ?? one.message + choice),
      };
    });
    const part = PARTS[error.validationContext ?? 'body'] ?? 'request';
    const [first] = where;
    const message = `The ${part} does not fit its schema: ${first?.at || 'it'} ${first?.problem}`;
    return new Failure('invalid_request', message, { where });
  }
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    const told = Number(request.headers['content-length']);
    const observed = told > requestBytes ? told : requestBytes + 1;
    const limit = { name: 'requestBytes', allowed: requestBytes, observed, unit: 'bytes' } as const;
    return new Failure('payload_too_large', `The body is larger than ${requestBytes} bytes`, { limit });
  }
  if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    const takes = request.routeOptions.config.takes ?? 'JSON, sent with "Content-Type: application/json"';
    return new Failure('invalid_request', `The body must be ${takes}`);
  }
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) {
    return new Failure('invalid_request', error.message);
  }
  return Failure.from(error);
}

/** Where something may also be null, or one of several, only what was meant is worth a word. */
function telling(errors: readonly FastifySchemaValidationError[]): readonly FastifySchemaValidationError[] {
  const some = errors.filter(({ keyword, params }) => keyword !== 'anyOf' && params.type !== 'null');
  return (some.length > 0 ? some : errors).slice(0, 20);
}

function wordsOf({ params }: FastifySchemaValidationError): string | undefined {
  const words = typeof params.pattern === 'string' ? ALLOWED.get(params.pattern) : undefined;
  return words && `must be ${words}`;
}

const PARTS: Record<string, string> = {
  body: 'body',
  querystring: 'query string',
  params: 'path',
  headers: 'header',
};

/** One step of a JSON pointer. */
function escaped(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1');
}
