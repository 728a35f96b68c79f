import { HANDLER } from '../support/isopod.ts';
import type { RateQuestion } from '../support/question.ts';
import { warmIsopod } from '../support/warm.ts';

export const frozen: RateQuestion = {
  kind: 'rate',
  name: 'frozen',
  title: 'isopod, embedded, frozen realm',
  unit: 'req/s',
  targets: [
    { of: 'echo', atLeast: 0.7 },
    { of: 'workerd', atLeast: 2 },
    { of: 'unconfined', atLeast: 0.95 },
  ],
  open: (options) => warmIsopod(options, HANDLER, 'a frozen realm'),
};
