import { UNCONFINED } from '../support/confinement.ts';
import { HANDLER } from '../support/isopod.ts';
import type { RateQuestion } from '../support/question.ts';
import { warmIsopod } from '../support/warm.ts';

/** What `frozen` would be if executors were not confined. */
export const unconfined: RateQuestion = {
  kind: 'rate',
  name: 'unconfined',
  title: 'isopod, embedded, frozen realm, executors not confined',
  unit: 'req/s',
  open: (options) => warmIsopod(options, HANDLER, 'a frozen realm', UNCONFINED),
};
