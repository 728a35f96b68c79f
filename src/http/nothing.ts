import type { FastifyReply } from 'fastify';

/** 204: it is done, and there is nothing to say. */
export function nothing(reply: FastifyReply): FastifyReply {
  return reply.code(204).send();
}
