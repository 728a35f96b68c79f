/** Values in bodies that may have come as JSON or as a form, where everything is text. */
import type { FastifyRequest } from 'fastify';

/** What is no text is as if it were not there. */
export function textIn(request: FastifyRequest, name: string): string;
export function textIn(request: FastifyRequest, name: string, absent: null): string | null;
export function textIn(request: FastifyRequest, name: string, absent: string | null = ''): string | null {
  const value = valueIn(request, name);
  return typeof value === 'string' ? value : absent;
}

/** A whole number, or text that is one. */
export function numberIn(request: FastifyRequest, name: string): number | null {
  const value = valueIn(request, name);
  if (typeof value === 'string') return /^\s*-?\d{1,9}\s*$/.test(value) ? Number(value) : null;
  return typeof value === 'number' && Math.abs(value) < 1e9 ? Math.trunc(value) : null;
}

/** Undefined where it is not there, null for what is none. */
export function booleanIn(request: FastifyRequest, name: string): boolean | null | undefined {
  const value = valueIn(request, name);
  if (value === undefined || typeof value === 'boolean') return value;
  const word = String(value).trim().toLowerCase();
  if (YES.has(word)) return true;
  return NO.has(word) ? false : null;
}

/** What is no boolean is not true. */
export function isTrue(request: FastifyRequest, name: string): boolean {
  return booleanIn(request, name) === true;
}

/** What is wrong with the URL of a new repository, by field, as Django REST framework has it; null where nothing is. */
export function fieldErrors(request: FastifyRequest): Record<string, string[]> | null {
  const url = valueIn(request, 'url');
  if (url === undefined) return { url: ['This field is required.'] };
  if (url === null) return { url: ['This field may not be null.'] };
  if (typeof url !== 'string') return { url: ['Not a valid string.'] };
  if (url.trim() === '') return { url: ['This field may not be blank.'] };
  return /^https?:\/\/[^\s/]/i.test(url.trim()) && URL.canParse(url.trim()) ? null : { url: ['Enter a valid URL.'] };
}

const YES: ReadonlySet<string> = new Set(['true', '1', 'yes', 'y', 'on', 't']);
const NO: ReadonlySet<string> = new Set(['false', '0', 'no', 'n', 'off', 'f']);

function valueIn({ body }: FastifyRequest, name: string): unknown {
  if (typeof body !== 'object' || body === null || Array.isArray(body) || !Object.hasOwn(body, name)) return undefined;
  return (body as Record<string, unknown>)[name];
}
