import type { RateQuestion } from '../support/question.ts';
import { served } from '../support/served.ts';

export const express: RateQuestion = {
  kind: 'rate',
  name: 'express',
  title: 'bare Express 4, without anything before it',
  unit: 'req/s',
  open: () =>
    served((port) => ({
      command: process.execPath,
      args: [new URL('../peers/express.ts', import.meta.url).pathname, String(port)],
    })),
};
