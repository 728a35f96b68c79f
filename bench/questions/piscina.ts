import { HANDLER } from '../support/isopod.ts';
import type { RateQuestion } from '../support/question.ts';
import { served } from '../support/served.ts';

// The same answer as the others give, since the handler's is {Output: …}.
const UNWRAPPED = HANDLER.replace('{ Output: ', '').replace(' })', ')');

export const piscina: RateQuestion = {
  kind: 'rate',
  name: 'piscina',
  title: 'Fastify + piscina threads with isolated-vm, fresh contexts',
  unit: 'req/s',
  open: () =>
    served((port) => ({
      command: process.execPath,
      args: ['--no-node-snapshot', new URL('../peers/piscina.ts', import.meta.url).pathname, String(port), UNWRAPPED],
    })),
};
