import { JobBench } from '../support/jobs.ts';
import type { RateQuestion } from '../support/question.ts';

/** From the request to the outcome that is kept: what pg-boss does for a no-op, and HTTP, a plugin and its report. */
export const jobs: RateQuestion = {
  kind: 'rate',
  name: 'jobs',
  title: 'isopod, jobs over HTTP, run and kept',
  unit: 'jobs/s',
  targets: [{ of: 'pg-boss', atLeast: 0.5 }],
  async open(options) {
    const bench = await JobBench.start(options, '({ Output: null })');
    return {
      measure: (seconds) => bench.run(Math.round(seconds * 500)),
      [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose](),
    };
  },
};
