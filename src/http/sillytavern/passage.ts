/**
 * One request on its way to a plugin, and its answer on the way back. It goes over undici's dispatcher itself, not
 * @fastify/reply-from, which has one dispatcher for all, decodes and judges paths, drops bodies that come with GET, asks
 * again where an answer is 503, and goes on when its caller has left.
 *
 * Each chunk goes on as it comes, in either direction, and whoever reads too slowly stops the other side. Only silence has
 * a limit. Whatever happens, `end` is called once, and after that nothing of it matters any more.
 */
import type { ServerResponse } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Dispatcher, Pool } from 'undici';
import { Failure } from '../../core/failure.ts';
import type { Received } from '../../engine/reception.ts';
import { HttpFailure } from '../errors.ts';
import { headersForCaller } from './answer-headers.ts';
import { brokenOff, faultOf, invalid, timedOut, unrouted } from './faults.ts';
import type { Mount } from './mount.ts';
import { headersForPlugin } from './request-headers.ts';
import type { Upload } from './upload.ts';

export type PassageOptions = {
  request: FastifyRequest;
  reply: FastifyReply;
  received: Received;
  mount: Mount;
  upload: Upload | null;
  silenceMs: number;
  isSandboxed: boolean;
  /** Headers that every answer has. */
  own: readonly string[];
  /** Rejects with a Failure where the caller would not be let in any more. */
  entitled(): Promise<unknown>;
  /** Answers what went wrong, where nothing was answered yet. */
  refuse(failure: Failure): void;
};

export class Passage implements Dispatcher.DispatchHandler {
  readonly #options: PassageOptions;
  readonly #raw: ServerResponse;
  readonly #silence: NodeJS.Timeout;
  #controller: Dispatcher.DispatchController | undefined;
  #heardAt = performance.now();
  #entitledAt = this.#heardAt;
  /** What has come of the caller when we looked last. */
  #sent = 0;
  #status: number | null = null;
  #hasBegun = false;
  #isJudged = false;
  #isOver = false;

  constructor(options: PassageOptions) {
    const { reply, request, silenceMs } = options;
    this.#options = options;
    this.#raw = reply.raw;
    this.#sent = request.raw.socket.bytesRead;
    this.#silence = setTimeout(this.#beQuiet, silenceMs);
  }

  begin(pool: Pool): void {
    const { request, mount, received, upload } = this.#options;
    const { raw } = request;
    const headers = headersForPlugin(raw, mount, received.visit.headers);
    const method = raw.method as Dispatcher.HttpMethod;
    pool.dispatch({ path: raw.url ?? '/', method, headers, body: upload }, this);
  }

  /** The caller has gone, or nobody waits for it any more. */
  abandon(failure: Failure): void {
    this.#end(failure);
  }

  // ── what undici tells ─────────────────────────────────────────────────────────────────────────────────────────

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isOver) controller.abort(NOBODY);
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
    message?: string,
  ): void {
    if (this.#isOver) return;
    // What only says that an answer is to come.
    if (status < 200) return this.#heard();
    const { received, request, mount } = this.#options;
    const { visit, plugin } = received;
    this.#status = status;
    const verdict = visit.verdictOf(headers);
    if (verdict === 'unrouted') {
      const path = (request.raw.url ?? '').split(/[?#]/, 1)[0]?.slice(`/api/plugins/${mount.address}`.length) || '/';
      const routes = request.tenancy.portrait(plugin).serves?.routes ?? [];
      this.#end(unrouted(plugin.id, `${request.method} ${path.slice(0, 200)}`, routes));
    } else if (verdict === 'fault') {
      this.#judge(faultOf(visit));
      controller.abort(NOBODY);
    } else this.#answer(status, headers, message);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#isOver) return;
    this.#heard();
    this.#hasBegun = true;
    if (this.#heardAt - this.#entitledAt > ENTITLED_MS) this.#askAgain();
    if (this.#raw.write(chunk)) return;
    controller.pause();
    this.#raw.once('drain', this.#goOn);
  }

  onResponseEnd(): void {
    if (this.#isOver) return;
    this.#hasBegun = true;
    this.#raw.end();
    this.#end(null);
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (!this.#isOver && !this.#isJudged) this.#judge(brokenOff(this.#options.received.visit, error));
  }

  // ── and what comes of it ──────────────────────────────────────────────────────────────────────────────────────

  #answer(status: number, headers: Record<string, string | string[] | undefined>, message = ''): void {
    const { reply, mount, isSandboxed, own } = this.#options;
    const raw = this.#raw;
    const told = headersForCaller(headers, mount, { isSandboxed });
    told.push(...own);
    for (const [name, value] of Object.entries(reply.getHeaders())) told.push(name, String(value));
    try {
      raw.writeHead(status, REASON.test(message) ? message : undefined, told);
    } catch (error) {
      raw.statusMessage = '';
      this.#end(invalid('a header has characters that no header may have', error));
      return;
    }
    reply.hijack();
    this.#heard();
    // What has come with the head goes with it; where nothing has, the caller waits for the head alone.
    process.nextTick(this.#flush);
  }

  readonly #flush = () => {
    if (!this.#hasBegun && !this.#isOver) this.#raw.flushHeaders();
  };

  /** Whoever is answered for long may have lost their token meanwhile. */
  #askAgain(): void {
    this.#entitledAt = this.#heardAt;
    this.#options.entitled().catch((error) => this.#end(Failure.from(error)));
  }

  readonly #goOn = () => {
    if (this.#isOver) return;
    this.#heard();
    this.#controller?.resume();
  };

  /** Nothing more is taken from the plugin; what is known of it is told when it is known. */
  #judge(failure: Promise<Failure>): void {
    this.#isJudged = true;
    clearTimeout(this.#silence);
    failure.then((known) => this.#end(known));
  }

  #heard(): void {
    this.#heardAt = performance.now();
    this.#silence.refresh();
  }

  readonly #beQuiet = () => {
    const { request, upload, silenceMs } = this.#options;
    if (this.#isOver) return;
    const { bytesRead } = request.raw.socket;
    if (this.#raw.writableNeedDrain) return this.#end(new Failure('cancelled', 'The caller has stopped reading'));
    const isSending = upload !== null && !request.raw.complete;
    if (isSending && bytesRead > this.#sent) {
      this.#sent = bytesRead;
      this.#silence.refresh();
    } else if (isSending && request.raw.readableLength === 0 && upload.readableLength === 0) {
      this.#end(new HttpFailure(408, new Failure('invalid_request', 'The request took too long to arrive')));
    } else this.#end(timedOut(silenceMs, Math.round(performance.now() - this.#heardAt)));
  };

  /** Null where all has gone well. The first one counts. */
  #end(failure: Failure | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#silence);
    const { received, upload, refuse } = this.#options;
    received.end(this.#status, failure);
    if (failure === null) return;
    upload?.destroy();
    this.#controller?.abort(NOBODY);
    // There is no other way to say that what has come is not all of it.
    if (this.#raw.headersSent) this.#raw.destroy();
    else if (!this.#raw.destroyed) refuse(failure);
  }
}

const ENTITLED_MS = 5_000;

const NOBODY = new Failure('cancelled', 'Nobody waits for it any more');

/** What may stand in the first line of an answer. */
const REASON = /^[\t\x20-\x7e\x80-\xff]+$/;
