/**
 * What goes wrong on the way to a route, as Django REST framework says it: `{"detail": "…"}`. Whatever is behind it is in
 * the header Isopod-Error-Code, as everywhere.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Failure } from '../../core/failure.ts';
import { stripped } from '../../core/text.ts';
import type { AppOptions } from '../app.ts';
import { shownIn } from '../auth.ts';
import { caught, problem } from '../errors.ts';
import { Refused } from './refused.ts';

const DETAIL_CHARACTERS = 4_096;

export function detailHandler(requestBytes: number, bug: AppOptions['bug']) {
  return (error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const { failure, status } = caught(error, request, requestBytes);
    if (failure.code === 'internal') bug(failure, request.invocation || undefined);
    if (failure instanceof Refused) return sendRefused(reply, failure);
    const { headers } = problem(failure, { status });
    return send(reply, status, headers, bodyOf(failure, status, request, headers));
  };
}

/** A refusal that nobody needs to be told of but the caller. */
export function sendRefused(reply: FastifyReply, refused: Refused): FastifyReply {
  const { status, body } = refused;
  return send(reply, status, problem(refused, { status }).headers, body);
}

/** A failure that is no exception, e.g. of a method that there is not. */
export function sendDetail(reply: FastifyReply, failure: Failure, status: number, detail: string): FastifyReply {
  return send(reply, status, problem(failure, { status }).headers, { detail });
}

function send(reply: FastifyReply, status: number, headers: Record<string, string>, body: object): FastifyReply {
  return reply
    .code(status)
    .headers({ ...headers, 'content-type': 'application/json; charset=utf-8' })
    .send(JSON.stringify(body));
}

function bodyOf(failure: Failure, status: number, request: FastifyRequest, headers: Record<string, string>): object {
  const own = stripped(failure.message, DETAIL_CHARACTERS);
  if (status >= 500) return { success: false, error: own };
  return { detail: wordsOf(status, request, headers) ?? own };
}

/** What the host says whatever the reason is. */
function wordsOf(status: number, request: FastifyRequest, headers: Record<string, string>): string | undefined {
  switch (status) {
    case 401: {
      const isShown = shownIn(request.headers, request.routeOptions.config) !== undefined;
      return isShown ? 'Invalid token.' : 'Authentication credentials were not provided.';
    }
    case 403:
      return 'You do not have permission to perform this action.';
    case 404:
      return NOT_FOUND;
    case 415:
      return `Unsupported media type "${stripped(request.headers['content-type'] ?? '', 200)}" in request.`;
    case 429: {
      const seconds = Number(headers['retry-after'] ?? 1);
      return `Request was throttled. Expected available in ${seconds} second${seconds === 1 ? '' : 's'}.`;
    }
    default:
      return undefined;
  }
}

export const NOT_FOUND = 'Not found.';
