import type { RateQuestion } from '../support/question.ts';
import { served } from '../support/served.ts';

export const echo: RateQuestion = {
  kind: 'rate',
  name: 'echo',
  title: 'bare Fastify echo',
  unit: 'req/s',
  open: () =>
    served((port) => ({
      command: process.execPath,
      args: [new URL('../peers/echo.ts', import.meta.url).pathname, String(port)],
    })),
};
