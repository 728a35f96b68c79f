import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { EgressReason } from '../../core/grant.ts';
import { REASON_HEADER } from './headers.ts';

/** Instead of what was asked for. */
export type Instead = { status: number; reason: EgressReason | null; text: string };

const WORDS = {
  'not granted': 'This host was not granted to the plugin',
  'special address': 'This host has an address that nobody may be led to',
  unresolved: 'There is no such host',
  exhausted: 'The invocation has had all connections, attempts or bytes that it may have',
  malformed: 'This is no way to ask for a host',
} as const satisfies Record<Exclude<EgressReason, 'granted'>, string>;

export function refusal(reason: keyof typeof WORDS): Instead {
  return { status: 403, reason, text: WORDS[reason] };
}

/** It may be reached, and cannot. */
export function failure(failed: 'unreachable' | 'too slow' | 'garbled'): Instead {
  const status = failed === 'too slow' ? 504 : 502;
  const text = failed === 'garbled' ? 'The host gave no answer that could be passed on' : `The host is ${failed}`;
  return { status, reason: 'granted', text };
}

export const STRANGER: Instead = { status: 401, reason: null, text: 'Unauthorized' };

export function answer(response: ServerResponse, instead: Instead): void {
  if (response.headersSent) response.destroy();
  else response.writeHead(instead.status, headersOf(instead)).end(instead.text);
}

const STATUS: Record<number, string> = {
  401: 'Unauthorized',
  403: 'Forbidden',
  502: 'Bad Gateway',
  504: 'Gateway Timeout',
};
const LINGER_MS = 1_000;

/** To somebody who has asked for a tunnel and gets none. What they send on is read for a moment, so that they read, too. */
export function answerRaw(socket: Socket, instead: Instead): void {
  const head = Object.entries(headersOf(instead)).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${instead.status} ${STATUS[instead.status]}\r\n${head.join('')}\r\n${instead.text}`);
  socket.resume();
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}

function headersOf({ reason, text }: Instead): Record<string, string | number> {
  return {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    ...(reason === null ? {} : { [REASON_HEADER]: reason }),
    connection: 'close',
  };
}
