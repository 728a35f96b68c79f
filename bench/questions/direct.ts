import { Application } from '../support/application.ts';
import type { RateQuestion } from '../support/question.ts';

/** What `gql.Do` is compared with: one client that asks the same application by itself, one query after the other. */
export const direct: RateQuestion = {
  kind: 'rate',
  name: 'direct',
  title: 'the application, asked directly, one by one',
  unit: 'calls/s',
  async open() {
    const application = await Application.start();
    return {
      async measure(seconds) {
        const startedAt = performance.now();
        let done = 0;
        let wrong = 0;
        while (performance.now() - startedAt < seconds * 1000) {
          if (!(await application.ask())) wrong += 1;
          done += 1;
        }
        const ms = performance.now() - startedAt;
        return { value: (done / ms) * 1000, ok: wrong === 0, note: wrong === 0 ? '' : `${wrong} answers WRONG` };
      },
      [Symbol.asyncDispose]: () => application[Symbol.asyncDispose](),
    };
  },
};
