import { Agent, type Dispatcher } from 'undici';
import { type Application, CHAIN_HEADER, REDACTED, type Target } from '../core/application.ts';
import { headerOf } from '../core/credential.ts';
import { Failure, type LimitHit } from '../core/failure.ts';
import { Redaction } from './redaction.ts';

/** More than this is not an answer that a plugin could use. */
const ANSWER_BYTES = 16 * 1024 * 1024;
const HEADER_BYTES = 16 * 1024;

export type HttpApplicationOptions = Target & {
  /** How long the application may take to answer, where nothing else ends the call sooner. */
  answerMs?: number;
  answerBytes?: number;
  /** Of all answers that are on their way. */
  answerBytesAtOnce?: number;
};

/**
 * The application over HTTP, e.g. a Stash server, below one base URL: GraphQL is at `/graphql` there. It is shown the
 * credential, and nobody else is: redirects are not followed, as where calls go is the operator's word and not the
 * application's, and what it answers is searched for it. Connections are kept; cookies are not.
 */
export class HttpApplication implements Application, AsyncDisposable {
  readonly isThere = true;
  readonly #origin: string;
  readonly #path: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #agent: Agent;
  readonly #answerBytes: number;
  readonly #answerBytesAtOnce: number;
  readonly #redaction: Redaction | null;
  /** Bytes of answers that are on their way. */
  #held = 0;
  #calls = 0;
  #successor: (() => Application) | undefined;

  constructor(options: HttpApplicationOptions) {
    const { url, credential, answerMs = 300_000, answerBytes = ANSWER_BYTES } = options;
    const { origin, pathname } = new URL(url);
    this.#origin = origin;
    // Some name the whole of it.
    this.#path = `${pathname.replace(/\/+$/, '').replace(/\/graphql$/, '')}/graphql`;
    this.#answerBytes = answerBytes;
    this.#answerBytesAtOnce = options.answerBytesAtOnce ?? 4 * answerBytes;
    this.#redaction = credential === null ? null : new Redaction(credential.value);
    this.#headers = {
      'content-type': 'application/json',
      accept: 'application/json',
      // A few bytes may unpack to as many as one likes.
      'accept-encoding': 'identity',
      ...(credential === null ? {} : Object.fromEntries([headerOf(credential)])),
    };
    this.#agent = new Agent({
      connections: 64,
      // All bounds here are those of HTTP/1.1.
      allowH2: false,
      connect: { timeout: 5_000 },
      headersTimeout: answerMs,
      bodyTimeout: answerMs,
      maxHeaderSize: HEADER_BYTES,
      maxResponseSize: answerBytes,
    });
  }

  /** How many calls are under way. */
  get calls(): number {
    return this.#calls;
  }

  async graphql(
    body: string,
    signal: AbortSignal,
    chain?: string,
    instead?: string,
  ): Promise<{ status: number; body: string }> {
    if (this.#successor !== undefined) return await this.#successor().graphql(body, signal, chain, instead);
    this.#calls += 1;
    try {
      const answer = await this.#agent.request({
        origin: this.#origin,
        path: this.#path,
        method: 'POST',
        headers: chain === undefined ? this.#headers : { ...this.#headers, [CHAIN_HEADER]: chain },
        body,
        signal,
      });
      return { status: answer.statusCode, body: this.#redacted(await this.#text(answer), instead) };
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw this.#explain(error);
    } finally {
      this.#calls -= 1;
    }
  }

  /** From now on others are asked in its place. Resolves when its own calls have ended and its connections are closed. */
  async retire(successor: () => Application): Promise<void> {
    this.#successor = successor;
    await this.#agent.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }

  /**
   * A known length is refused before a byte of it is kept, and undici ends what turns out too large while it comes. It
   * is copied together, since an answer of many small pieces would hold far more than its length.
   */
  async #text({ headers, body }: Dispatcher.ResponseData): Promise<string> {
    const told = Number(headers['content-length'] ?? 0);
    const encoding = headers['content-encoding'] ?? 'identity';
    if (told > this.#answerBytes || encoding !== 'identity') {
      body.destroy();
      if (encoding === 'identity') throw this.#tooLarge(told);
      throw new Failure('application_error', 'The application packed its answer, although it was asked not to');
    }
    let kept = Buffer.allocUnsafe(Math.max(told, 4_096));
    let length = 0;
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) {
        this.#hold(chunk.length);
        if (length + chunk.length > kept.length) {
          const larger = Buffer.allocUnsafe(Math.max(2 * kept.length, length + chunk.length));
          kept.copy(larger, 0, 0, length);
          kept = larger;
        }
        chunk.copy(kept, length);
        length += chunk.length;
      }
      return new TextDecoder().decode(kept.subarray(0, length));
    } finally {
      this.#held -= length;
    }
  }

  /** One application's answers take no more than their room, however many are on their way. */
  #hold(bytes: number): void {
    const observed = this.#held + bytes;
    if (observed > this.#answerBytesAtOnce) {
      const limit = {
        name: 'gateway.answerBytesAtOnce',
        allowed: this.#answerBytesAtOnce,
        observed,
        unit: 'bytes',
      } as const;
      throw tooMuch(
        `The answers of the application that are on their way have more than ${limit.allowed} bytes`,
        limit,
      );
    }
    this.#held = observed;
  }

  #redacted(text: string, instead: string = REDACTED): string {
    return this.#redaction?.of(text, instead) ?? text;
  }

  #explain(error: unknown): Failure {
    if (error instanceof Failure) return error;
    const { code = '', message } = error as Error & { code?: string };
    if (code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE') return this.#tooLarge(this.#answerBytes + 1);
    const what = WORDS[code] ?? (CERTIFICATE.test(code) ? UNTRUSTED : 'did not answer as HTTP does');
    // Errors of the parser hold what it could not read, which may be what was sent.
    const cause = new Error(this.#redacted(`${code} ${message}`));
    return new Failure('application_error', `The application ${what}`, { cause });
  }

  #tooLarge(observed: number): Failure {
    const limit = { name: 'gateway.answerBytes', allowed: this.#answerBytes, observed, unit: 'bytes' } as const;
    return tooMuch(`The application answered with more than ${this.#answerBytes} bytes`, limit);
  }
}

function tooMuch(message: string, limit: LimitHit): Failure {
  return new Failure('application_error', message, { limit });
}

const WORDS: Record<string, string> = {
  ECONNREFUSED: 'is not reachable: nothing listens there',
  ENOTFOUND: 'is not reachable: its name is not known',
  EAI_AGAIN: 'is not reachable: its name cannot be looked up now',
  EHOSTUNREACH: 'is not reachable: there is no way to its host',
  ENETUNREACH: 'is not reachable: there is no way to its network',
  ECONNRESET: 'closed the connection before it answered',
  EPIPE: 'closed the connection before it answered',
  UND_ERR_SOCKET: 'closed the connection before it answered',
  UND_ERR_CONNECT_TIMEOUT: 'is not reachable: it did not accept a connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'did not answer in time',
  UND_ERR_BODY_TIMEOUT: 'did not finish its answer in time',
  UND_ERR_HEADERS_OVERFLOW: 'answered with too many headers',
};

const CERTIFICATE = /CERT|^ERR_TLS|^UNABLE_TO_|SIGNATURE/;
const UNTRUSTED = 'shows no certificate that this machine trusts';

/** Where there is no application. `why` is told to whoever calls it. */
export class NoApplication implements Application {
  readonly isThere = false;
  readonly #why: string;

  constructor(why: string) {
    this.#why = why;
  }

  async graphql(): Promise<never> {
    throw new Failure('application_error', this.#why);
  }
}

export const noApplication: Application = new NoApplication(
  'No application is configured: set applicationUrl in isopod.yaml, or ISOPOD_APPLICATION_URL (or give `isopod run` ' +
    '--application); for another tenant than the default, its application',
);
