import type { IncomingHttpHeaders } from 'node:http';
import { Failure } from '../../core/failure.ts';
import { DEFAULT_VISITOR, type Visitor } from '../../core/serving.ts';

const HANDLE = /^[a-z0-9-]{1,64}$/;
const NAME_LETTERS = 200;
const CONTROL = /\p{Cc}/u;

/** On whose behalf a request comes. Whoever asks was let in, and may say so for whomever they serve. */
export function visitorOf(headers: IncomingHttpHeaders): Visitor {
  const handle = one(headers, 'isopod-user');
  const name = one(headers, 'isopod-user-name');
  const admin = one(headers, 'isopod-user-admin');
  if (handle === undefined && name === undefined && admin === undefined) return DEFAULT_VISITOR;
  const is = handle ?? DEFAULT_VISITOR.handle;
  if (!HANDLE.test(is)) throw wrong('Isopod-User', 'up to 64 of a-z, 0-9 and -');
  if (admin !== undefined && admin !== 'true' && admin !== 'false') throw wrong('Isopod-User-Admin', 'true or false');
  const isDefault = is === DEFAULT_VISITOR.handle;
  return {
    handle: is,
    name: name === undefined ? (isDefault ? DEFAULT_VISITOR.name : is) : nameIn(name),
    admin: admin === undefined ? isDefault : admin === 'true',
  };
}

/** Header fields are bytes, which Node reads as Latin-1. */
function nameIn(field: string): string {
  const bytes = Buffer.from(field, 'latin1');
  const name = bytes.toString('utf8');
  const isText = name.length > 0 && name.length <= NAME_LETTERS && !CONTROL.test(name) && !name.includes('\ufffd');
  if (!isText) throw wrong('Isopod-User-Name', `up to ${NAME_LETTERS} letters in UTF-8, without control characters`);
  return name;
}

function one(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  if (typeof value !== 'string') return undefined;
  // Proxies that cannot take a header away leave it empty. Who is named so is somebody all the same, and not anybody.
  return value === '' && name !== 'isopod-user' ? undefined : value;
}

function wrong(header: string, takes: string): Failure {
  return new Failure('invalid_request', `The header ${header} must be ${takes}`);
}
