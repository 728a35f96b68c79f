import type { RateQuestion } from '../support/question.ts';
import { served } from '../support/served.ts';

export const proxied: RateQuestion = {
  kind: 'rate',
  name: 'proxied',
  title: 'the same Express 4 behind Fastify and undici, on a unix socket',
  unit: 'req/s',
  open: () =>
    served((port) => ({
      command: process.execPath,
      args: [new URL('../peers/proxy.ts', import.meta.url).pathname, String(port)],
    })),
};
