import { GraphQLError } from 'graphql';
import { Failure } from '../../core/failure.ts';
import { stripped } from '../../core/text.ts';

const MESSAGE_CHARACTERS = 4_096;

/** An error as callers see it: a refusal with what to do about it, a mistake in the request, or a bug of ours, opaque. */
export function shown(error: GraphQLError, bug: (error: unknown) => void): GraphQLError {
  const cause = error.cause ?? error.originalError;
  // Those without a cause are the library's own, about the request.
  if (cause === undefined || cause instanceof GraphQLError) return error;
  const failure = Failure.from(cause);
  if (failure.code === 'internal') bug(failure);
  const { path, source, positions, nodes } = error;
  return new GraphQLError(messageOf(failure), { path, source, positions, nodes, extensions: extensionsOf(failure) });
}

/** For what went wrong before there was a field. */
export function errorOf(failure: Failure): GraphQLError {
  return new GraphQLError(messageOf(failure), { extensions: extensionsOf(failure) });
}

/** A plugin's own words are what Stash shows. */
function messageOf(failure: Failure): string {
  return stripped(failure.ownWords ?? failure.message, MESSAGE_CHARACTERS);
}

function extensionsOf(failure: Failure) {
  const { code, blame, hint, details } = failure;
  const { limit, retryable = false, retryAfterMs } = details;
  return { code, blame, hint, retryable, retryAfterMs, limit };
}
