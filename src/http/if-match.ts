import { Type } from 'typebox';
import { Failure } from '../core/failure.ts';
import { HttpFailure } from './errors.ts';

export const IfMatch = Type.Object({
  'if-match': Type.Optional(Type.String({ description: 'The ETag of what you have seen: 412 if it is another now' })),
});

export function etag(revision: number): string {
  return `"${revision}"`;
}

/** Writes if the header allows it: the revision is what must be there, undefined for whatever there is. */
export async function ifMatch<T>(
  header: string | undefined,
  write: (revision: number | undefined) => Promise<T>,
): Promise<T> {
  if (header === undefined || header.trim() === '*') return await write(undefined);
  const revision = /^"(\d{1,10})"$/.exec(header.trim())?.[1];
  if (revision === undefined) {
    throw new Failure(
      'invalid_request',
      'If-Match is not an ETag that was given here: one looks like "2", with its quotes',
    );
  }
  try {
    return await write(Number(revision));
  } catch (error) {
    throw error instanceof Failure && error.code === 'conflict' ? new HttpFailure(412, error) : error;
  }
}
