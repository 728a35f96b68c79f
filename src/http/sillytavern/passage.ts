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
import type { Dispatcher } from 'undici';
import { Failure } from '../../core/failure.ts';
import { INTERIM_MOST } from '../../core/interim.ts';
import type { Received } from '../../engine/reception.ts';
import { restOf } from '../../listening/unread-body.ts';
import { HttpFailure } from '../errors.ts';
import { headersForCaller } from './answer-headers.ts';
import { brokenOff, faultOf, invalid, timedOut, unrouted } from './faults.ts';
import type { Mount } from './mount.ts';
import type { Ways } from './pools.ts';
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
  own: Readonly<Record<string, string>>;
  /** Rejects with a Failure where the caller would not be let in any more. */
  entitled(): Promise<unknown>;
  /** Answers what went wrong, where nothing was answered yet. */
  refuse(failure: Failure): void;
};

type Head = {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  message: string | undefined;
  /** When it came. */
  at: number;
};

export class Passage implements Dispatcher.DispatchHandler {
  readonly #options: PassageOptions;
  readonly #raw: ServerResponse;
  readonly #beganAt = performance.now();
  readonly #silence: NodeJS.Timeout;
  /** It is looked every so often who is still there, and may be. */
  readonly #lookMs: number;
  readonly #looking: NodeJS.Timeout;
  #ways: Ways | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  /** For how many reasons nothing is taken from the plugin. */
  #pauses = 0;
  #heardAt = this.#beganAt;
  #entitledAt = this.#beganAt;
  #isAsking = false;
  /** What the plugin had taken of the body when we looked last. */
  #given = 0;
  #interim = 0;
  #chunks = 0;
  #status: number | null = null;
  /** What has come and is not told yet. */
  #head: Head | null = null;
  #pieces: Buffer[] = [];
  #isWhole = false;
  #hasBegun = false;
  #isJudged = false;
  #isOver = false;

  constructor(options: PassageOptions) {
    const { reply, silenceMs } = options;
    this.#options = options;
    this.#raw = reply.raw;
    this.#silence = setTimeout(this.#beQuiet, silenceMs);
    this.#lookMs = Math.min(LOOK_MS, silenceMs / 2);
    this.#looking = setInterval(this.#look, this.#lookMs);
  }

  begin(ways: Ways): void {
    this.#ways = ways;
    const { request, mount, received, upload } = this.#options;
    const { raw } = request;
    const headers = headersForPlugin(raw, mount, received.visit.headers);
    const method = raw.method as Dispatcher.HttpMethod;
    ways.pool.dispatch({ path: raw.url ?? '/', method, headers, body: upload }, this);
  }

  /** The caller has gone, or nobody waits for it any more. */
  abandon(failure: Failure): void {
    this.#end(failure);
  }

  // ── what undici tells ─────────────────────────────────────────────────────────────────────────────────────────

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isOver) controller.abort(NOBODY);
    else if (this.#pauses > 0) controller.pause();
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
    message?: string,
  ): void {
    if (this.#isOver) return;
    if (status < 100 || status > 599) return this.#end(invalid(`its status is ${status}`));
    if (status < 200) return this.#expect();
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
    } else {
      this.#heard();
      this.#head = { status, headers, message, at: this.#heardAt };
      // What comes with the head goes with it; where nothing does, the caller waits for the head alone.
      process.nextTick(this.#tell);
    }
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#isOver) return;
    this.#heard();
    // What comes at once goes at once, however small its parts are.
    if (this.#pieces.push(chunk) === 1) process.nextTick(this.#tell);
    this.#chunks += 1;
    // A short answer does not wait for the long ones of others.
    const waitMs = this.#chunks <= SHORT_CHUNKS ? 0 : this.#ways?.crumbs.take(chunk.length, this.#heardAt);
    if (waitMs === undefined || waitMs === 0) return;
    this.#pause();
    setTimeout(this.#goOnHearing, waitMs);
  }

  onResponseEnd(): void {
    if (this.#isOver) return;
    this.#isWhole = true;
    this.#tell();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (!this.#isOver && !this.#isJudged) this.#judge(brokenOff(this.#options.received.visit, error));
  }

  // ── and what comes of it ──────────────────────────────────────────────────────────────────────────────────────

  /** What only says that an answer is to come, which is none, however often it is said. */
  #expect(): void {
    this.#interim += 1;
    if (this.#interim > INTERIM_MOST) this.#end(invalid(`it was announced more than ${INTERIM_MOST} times`));
  }

  /** Tells the caller all that has come, where they may still know it. */
  readonly #tell = () => {
    if (this.#isOver || this.#isJudged || this.#isAsking) return;
    if (this.#isDue()) return this.#ask();
    if (this.#head !== null && !this.#begin(this.#head)) return;
    const pieces = this.#pieces;
    this.#pieces = [];
    const chunk = pieces.length > 1 ? Buffer.concat(pieces) : pieces[0];
    if (this.#isWhole) this.#finish(chunk);
    else if (chunk !== undefined) {
      if (this.#raw.write(chunk)) return;
      this.#pause();
      this.#raw.once('drain', this.#goOnHearing);
    } else if (!this.#hasBegun) this.#raw.flushHeaders();
    this.#hasBegun = true;
  };

  /** A connection that ends with its answer is not torn from under who still sends: they would lose the answer, too. */
  #finish(chunk: Buffer | undefined): void {
    const { request, upload } = this.#options;
    if (this.#raw.shouldKeepAlive || request.raw.complete) this.#raw.end(chunk);
    else {
      // The rest of the body waits for nobody.
      upload?.destroy();
      if (chunk === undefined) this.#raw.flushHeaders();
      else this.#raw.write(chunk);
      restOf(request.raw, () => this.#raw.end());
    }
    this.#end(null);
  }

  /** False where it cannot. */
  #begin({ status, headers, message = '' }: Head): boolean {
    const { request, reply, mount, isSandboxed, own } = this.#options;
    this.#head = null;
    const asked = { host: request.headers.host, url: request.originalUrl, localPort: request.raw.socket.localPort };
    const ours = [...Object.entries(own), ...Object.entries(reply.getHeaders())];
    try {
      const told = headersForCaller(headers, {
        status,
        mount,
        asked,
        isSandboxed,
        own: ours.map(([name, value]) => [name, String(value)] as const),
      });
      this.#raw.writeHead(status, REASON.test(message) ? message : undefined, told);
    } catch (error) {
      this.#raw.statusMessage = '';
      const isRefused = error instanceof Failure;
      this.#end(isRefused ? error : invalid('a header has characters that no header may have', error));
      return false;
    }
    reply.hijack();
    return true;
  }

  /** Whoever waits or is answered for long may have lost their token meanwhile, and is told nothing more before we know. */
  #isDue(): boolean {
    const head = this.#head;
    if (head !== null && head.at - this.#beganAt > this.#lookMs) return this.#entitledAt < head.at;
    return performance.now() - this.#entitledAt > this.#lookMs;
  }

  #ask(): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    this.#pause();
    const go = () => {
      this.#isAsking = false;
      this.#entitledAt = performance.now();
      this.#goOn();
      if (this.#head !== null || this.#pieces.length > 0 || this.#isWhole) this.#tell();
    };
    this.#options.entitled().then(go, (error) => this.#end(Failure.from(error)));
  }

  readonly #look = () => {
    if (this.#isOver || this.#isJudged) return;
    this.#isTaken();
    const { upload, request } = this.#options;
    if (upload !== null && !request.raw.complete) upload.look();
    this.#ask();
  };

  /** Whether the plugin has taken any of the body since we looked last, which is not silence. */
  #isTaken(): boolean {
    const { given = 0 } = this.#options.upload ?? {};
    const isMore = given > this.#given;
    this.#given = given;
    if (isMore) this.#heard();
    return isMore;
  }

  #pause(): void {
    this.#pauses += 1;
    this.#controller?.pause();
  }

  #goOn(): void {
    this.#pauses -= 1;
    if (this.#pauses === 0 && !this.#isOver) this.#controller?.resume();
  }

  /** It was we who made it wait. */
  readonly #goOnHearing = () => {
    if (!this.#isOver) this.#heard();
    this.#goOn();
  };

  /** Nothing more is taken from the plugin; what is known of it is told when it is known. */
  #judge(failure: Promise<Failure>): void {
    this.#isJudged = true;
    clearTimeout(this.#silence);
    clearInterval(this.#looking);
    failure.then((known) => this.#end(known));
  }

  #heard(): void {
    this.#heardAt = performance.now();
    this.#silence.refresh();
  }

  readonly #beQuiet = () => {
    const { request, upload, silenceMs } = this.#options;
    if (this.#isOver) return;
    if (this.#raw.writableNeedDrain) return this.#end(new Failure('cancelled', 'The caller has stopped reading'));
    if (this.#isTaken()) return;
    const isSending = upload !== null && !request.raw.complete;
    if (isSending && request.raw.readableLength === 0 && upload.readableLength === 0) {
      this.#end(new HttpFailure(408, new Failure('invalid_request', 'The request took too long to arrive')));
    } else this.#end(timedOut(silenceMs, Math.round(performance.now() - this.#heardAt)));
  };

  /** Null where all has gone well. The first one counts. */
  #end(failure: Failure | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#pieces = [];
    clearTimeout(this.#silence);
    clearInterval(this.#looking);
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

const LOOK_MS = 5_000;

const SHORT_CHUNKS = 16;

const NOBODY = new Failure('cancelled', 'Nobody waits for it any more');

/** What may stand in the first line of an answer. */
const REASON = /^[\t\x20-\x7e\x80-\xff]+$/;
