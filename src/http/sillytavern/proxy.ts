import { randomUUID } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Failure } from '../../core/failure.ts';
import { onAbort } from '../../core/signal.ts';
import type { Received, Reception } from '../../engine/reception.ts';
import type { App, AppOptions } from '../app.ts';
import { type AuthOptions, stillEntitled } from '../auth.ts';
import { callerSignal } from '../caller-signal.ts';
import { HttpFailure, STATUS, sendProblem } from '../errors.ts';
import type { Protect } from './csrf.ts';
import { ADDRESS_PARAM, mountOf } from './mount.ts';
import { Passage } from './passage.ts';
import { Pools } from './pools.ts';
import { Turns } from './turns.ts';
import { type Upload, uploadOf } from './upload.ts';
import { visitorOf } from './visitor.ts';

export type ProxyOptions = {
  reception: Reception;
  settings: { bodyBytes: number; silenceMs: number; pages: 'sandboxed' | 'same-origin' };
};

type Options = ProxyOptions & { protect: Protect } & AuthOptions & Pick<AppOptions, 'bug'>;

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

export function proxy(scope: App, { protect, ...options }: Options): void {
  const doorman = new Doorman(options);
  for (const url of [`/api/plugins/${ADDRESS_PARAM}`, `/api/plugins/${ADDRESS_PARAM}/*`]) {
    scope.route({
      url,
      method: METHODS,
      config: { scope: 'invoke', streams: true },
      schema: { hide: true },
      // Before the body is read: it goes on as it comes. What is answered is answered there.
      onRequest: [protect, (request, reply) => void doorman.receive(request, reply)],
      handler: () => undefined,
    });
  }
}

/** Lets requests in, and says why where it does not. */
class Doorman {
  readonly #options: Omit<Options, 'protect'>;
  readonly #pools = new Pools();
  readonly #turns = new Turns();

  constructor(options: Omit<Options, 'protect'>) {
    this.#options = options;
  }

  async receive(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const id = randomUUID();
    let upload: Upload | null = null;
    let received: Received | undefined;
    const refuse = (failure: Failure) => this.#refuse(reply, { id, received, failure });
    try {
      const mount = mountOf(request);
      if (mount === null) throw new Failure('not_found', 'No plugin answers there');
      if (reply.raw.socket === null) {
        if (!(await this.#turns.wait(request.raw.socket, reply.raw))) return;
        await stillEntitled(request, this.#options);
      }
      const { reception, settings } = this.#options;
      const visitor = visitorOf(request.headers);
      upload = uploadOf(request.raw, settings.bodyBytes);
      const waiting = new AbortController();
      onAbort(callerSignal(reply), (failure) => waiting.abort(failure));
      received = await reception.enter(request.tenancy, mount.address, { id, visitor }, waiting);
      const passage = new Passage({
        request,
        reply,
        received,
        mount,
        upload,
        silenceMs: settings.silenceMs,
        isSandboxed: settings.pages === 'sandboxed',
        own: { 'isopod-isolation': received.isolation, 'isopod-request': id },
        entitled: () => stillEntitled(request, this.#options),
        refuse,
      });
      onAbort(waiting.signal, (failure) => passage.abandon(failure));
      passage.begin(this.#pools.of(received.visit.upstream));
    } catch (error) {
      const failure = Failure.from(error);
      upload?.destroy();
      received?.end(null, failure);
      refuse(failure);
    }
  }

  #refuse(reply: FastifyReply, { id, received, failure }: Refusal): void {
    if (failure.code === 'internal') this.#options.bug(failure, id);
    reply.header('isopod-request', id);
    if (received !== undefined) reply.header('isopod-isolation', received.isolation);
    const plugin = received && { id: received.plugin.id, version: received.plugin.version };
    const status = failure instanceof HttpFailure ? failure.status : STATUS[failure.code];
    sendProblem(reply, failure, { status, ...(plugin === undefined ? {} : { plugin }), more: { request: id } });
  }
}

type Refusal = { id: string; received: Received | undefined; failure: Failure };
