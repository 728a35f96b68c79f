import { hash } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { Failure } from '../core/failure.ts';

/** What a caller asks to be done once, however often it is asked for. */
export type Idempotency = { key: string; hash: Buffer };

const KEY = /^[\x21-\x7e]{1,200}$/;

/** The `Idempotency-Key` of a request, with a hash of all that makes it this request. Throws `invalid_request`. */
export function idempotencyOf(request: FastifyRequest): Idempotency | null {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return null;
  if (typeof key !== 'string' || !KEY.test(key)) {
    throw new Failure('invalid_request', 'An Idempotency-Key has 1 to 200 printable characters without spaces');
  }
  const [path] = request.url.split('?', 1);
  const whole = `${request.method} ${path}\n${canonical(request.body)}`;
  return { key, hash: hash('sha256', whole, 'buffer') };
}

/** The same for the same value, however its keys were ordered. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, one: unknown) =>
    typeof one === 'object' && one !== null && !Array.isArray(one)
      ? Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : one,
  );
}
