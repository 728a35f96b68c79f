import { FRESH_HANDLER } from '../support/isopod.ts';
import type { RateQuestion } from '../support/question.ts';
import { warmIsopod } from '../support/warm.ts';

export const fresh: RateQuestion = {
  kind: 'rate',
  name: 'fresh',
  title: 'isopod, embedded, fresh contexts',
  unit: 'req/s',
  targets: [{ of: 'raw', atLeast: 0.9 }],
  open: (options) => warmIsopod(options, FRESH_HANDLER, 'a fresh context made ahead'),
};
