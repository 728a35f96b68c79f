import type { FastifyReply, FastifyRequest } from 'fastify';
import { Failure } from '../core/failure.ts';
import { partOf } from '../core/fairness.ts';

/** Answers below this are not counted: connections bound them well enough. */
const LIGHT_BYTES = 64 * 1024;
const EACH_BYTES = 16 * 1024 * 1024;
const ALL_BYTES = 4 * EACH_BYTES;

/**
 * Bounds what lists take that may become long: each, and all of them together from when they are made until whoever asked
 * has read them or is gone. No tenant may have more than twice what is left then.
 */
export class AnswerBudget {
  readonly #byTenant = new Map<string, number>();
  #taken = 0;

  /** Counts what is added to it until the connection has done with the answer. */
  begin({ tenant }: FastifyRequest, reply: FastifyReply): Counted {
    // Nobody would tell us of its end.
    if (reply.raw.destroyed) throw new Failure('cancelled', 'The caller went away');
    let bytes = 0;
    let taken = 0;
    reply.raw.once('close', () => {
      this.#give(tenant, taken);
      taken = 0;
    });
    return (more) => {
      bytes += more;
      if (bytes > EACH_BYTES) throw tooLong(bytes);
      if (bytes <= LIGHT_BYTES) return;
      this.#take(tenant, bytes - taken);
      taken = bytes;
    };
  }

  #take(tenant: string, bytes: number): void {
    const mine = this.#byTenant.get(tenant) ?? 0;
    const free = ALL_BYTES - this.#taken;
    if (bytes > free) throw full(this.#taken + bytes);
    // As much as one takes that takes little by little.
    const part = partOf(free + mine);
    if (mine + bytes > part) throw overShare(part, mine + bytes);
    this.#taken += bytes;
    this.#byTenant.set(tenant, mine + bytes);
  }

  #give(tenant: string, bytes: number): void {
    this.#taken -= bytes;
    const left = (this.#byTenant.get(tenant) ?? 0) - bytes;
    if (left > 0) this.#byTenant.set(tenant, left);
    else this.#byTenant.delete(tenant);
  }
}

/** Throws `overloaded` and `concurrency_limited`. */
export type Counted = (bytes: number) => void;

/** `{"plugins": […]}`, counted while it is made: what does not fit is not made to its end. */
export class PluginsText {
  readonly #counted: Counted;
  readonly #parts: Buffer[] = [];

  constructor(counted: Counted) {
    this.#counted = counted;
  }

  add(plugin: unknown): void {
    const part = Buffer.from(`${this.#parts.length === 0 ? '' : ','}${JSON.stringify(plugin)}`);
    this.#counted(part.length);
    this.#parts.push(part);
  }

  send(reply: FastifyReply): FastifyReply {
    const all = Buffer.concat([Buffer.from('{"plugins":['), ...this.#parts, Buffer.from(']}')]);
    return reply.type('application/json; charset=utf-8').send(all);
  }
}

function tooLong(observed: number): Failure {
  const limit = { name: 'answerBytes', allowed: EACH_BYTES, observed, unit: 'bytes' } as const;
  return new Failure('overloaded', `This list is longer than the ${EACH_BYTES} bytes that an answer may have`, {
    limit,
  });
}

function full(observed: number): Failure {
  const limit = { name: 'answerBytesAtOnce', allowed: ALL_BYTES, observed, unit: 'bytes' } as const;
  const words = 'The lists that are being read have all the memory there is for them';
  return new Failure('overloaded', words, { limit, retryable: true, retryAfterMs: 1000 });
}

function overShare(allowed: number, observed: number): Failure {
  const limit = { name: 'answerBytesAtOnce', allowed, observed, unit: 'bytes' } as const;
  const words = 'The lists of this tenant that are being read have its part of the memory for lists';
  return new Failure('concurrency_limited', words, { limit, retryable: true, retryAfterMs: 1000 });
}
