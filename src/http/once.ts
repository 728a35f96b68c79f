import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { KeptAnswer, TenantAnswers } from '../core/tenant-store.ts';
import { tenantGone } from '../engine/invoker.ts';
import type { Idempotency } from './idempotency.ts';

export type Once = Idempotency & {
  answers: TenantAnswers;
  /** So long the answer is awaited, should this node be lost. */
  leaseMs: number;
};

/** What was done. `kept` is the answer to whoever asks again; null where it may be asked for again under the same key. */
export type Done = { kept: KeptAnswer | null; send(): FastifyReply };

/** Does it the first time, and answers the same again after that. */
export async function answerOnce(
  request: FastifyRequest,
  reply: FastifyReply,
  { answers, key, hash, leaseMs }: Once,
  work: () => Promise<Done>,
): Promise<FastifyReply> {
  const before = await answers.begin(key, hash, leaseMs);
  if (before !== null) {
    const type = before.status < 300 ? 'application/json' : 'application/problem+json';
    reply.code(before.status).headers({ 'content-type': `${type}; charset=utf-8`, 'idempotency-replayed': 'true' });
    return reply.send(before.text);
  }
  let done: Done;
  try {
    // Another may have got its name while the key was looked up.
    if (request.tenancy.isGone) throw tenantGone();
    done = await work();
  } catch (error) {
    await forget(answers, key);
    throw error;
  }
  if (done.kept === null) await forget(answers, key);
  else await keep(answers, key, done.kept);
  return done.send();
}

/** The key is free again when its lease is over, if not now. */
async function forget(answers: TenantAnswers, key: string): Promise<void> {
  await answers.drop(key).catch(() => {});
}

/** It has happened, so it is answered, whatever becomes of the copy; which is tried again while the key is taken. */
async function keep(answers: TenantAnswers, key: string, answer: KeptAnswer): Promise<void> {
  try {
    await answers.keep(key, answer);
  } catch {
    const again = async () => {
      for (let tries = 0; tries < KEEP_TRIES; tries += 1) {
        await sleep(KEEP_AGAIN_MS);
        const kept = await answers.keep(key, answer).then(
          () => true,
          () => false,
        );
        if (kept) return;
      }
    };
    void again();
  }
}

const KEEP_TRIES = 30;
const KEEP_AGAIN_MS = 1_000;
