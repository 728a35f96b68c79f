import { Agent, type Dispatcher } from 'undici';
import { type Application, CHAIN_HEADER } from '../core/application.ts';
import { Failure } from '../core/failure.ts';

/** More than this is not an answer that a plugin could use. */
const ANSWER_BYTES = 16 * 1024 * 1024;

export type HttpApplicationOptions = {
  /** Base URL; GraphQL is at `/graphql` below it. */
  url: string;
  /** How long the application may take to answer, where nothing else ends the call sooner. */
  answerMs?: number;
  answerBytes?: number;
};

/**
 * The application over HTTP, e.g. a Stash server. Connections are kept. Redirects are not followed: where calls go is
 * the operator's word, not the application's.
 */
export class HttpApplication implements Application, AsyncDisposable {
  readonly isThere = true;
  readonly #origin: string;
  readonly #path: string;
  readonly #agent: Agent;
  readonly #answerBytes: number;

  constructor({ url, answerMs = 300_000, answerBytes = ANSWER_BYTES }: HttpApplicationOptions) {
    const { origin, pathname } = new URL(url);
    this.#origin = origin;
    this.#path = `${pathname.replace(/\/+$/, '')}/graphql`;
    this.#answerBytes = answerBytes;
    this.#agent = new Agent({
      connections: 64,
      connect: { timeout: 5_000 },
      headersTimeout: answerMs,
      bodyTimeout: answerMs,
      maxResponseSize: answerBytes,
    });
  }

  async graphql(body: string, signal: AbortSignal, chain?: string): Promise<{ status: number; body: string }> {
    try {
      const answer = await this.#agent.request({
        origin: this.#origin,
        path: this.#path,
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/json',
          ...(chain === undefined ? {} : { [CHAIN_HEADER]: chain }),
        },
        body,
        signal,
      });
      return { status: answer.statusCode, body: await this.#text(answer) };
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw this.#explain(error);
    }
  }

  redacted(text: string, _instead: string): string {
    return text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }

  // A known length is refused before a byte of it is kept; undici ends what turns out too large while it comes.
  async #text({ headers, body }: Dispatcher.ResponseData): Promise<string> {
    if (Number(headers['content-length']) > this.#answerBytes) {
      body.destroy();
      throw this.#tooLarge(Number(headers['content-length']));
    }
    return await body.text();
  }

  #explain(error: unknown): Failure {
    if (error instanceof Failure) return error;
    const { code } = error as { code?: string };
    if (code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE') return this.#tooLarge(this.#answerBytes + 1);
    const what = WORDS[code ?? ''] ?? 'did not answer as HTTP does';
    return new Failure('plugin_error', `The application at ${this.#origin} ${what}`, { cause: error });
  }

  #tooLarge(observed: number): Failure {
    const limit = { name: 'answerBytes', allowed: this.#answerBytes, observed, unit: 'bytes' } as const;
    const message = `The application answered with more than ${this.#answerBytes} bytes`;
    return new Failure('plugin_resource_exceeded', message, { limit });
  }
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
};

/** In place of an application where none is configured. */
export const noApplication: Application = {
  isThere: false,
  redacted: (text) => text,
  async graphql() {
    throw new Failure(
      'plugin_error',
      'No application is configured: set applicationUrl in isopod.yaml, or ISOPOD_APPLICATION_URL',
    );
  },
};
