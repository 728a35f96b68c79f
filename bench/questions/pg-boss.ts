import { jsonFrom } from '../support/children.ts';
import type { RateQuestion } from '../support/question.ts';

type Result = { perSecond: number; sentPerSecond: number };

export const pgBoss: RateQuestion = {
  kind: 'rate',
  name: 'pg-boss',
  title: 'pg-boss alone, no-op jobs, same PostgreSQL',
  unit: 'jobs/s',
  async open({ databases }) {
    const url = await databases.create();
    const run = (count: number) =>
      jsonFrom<Result>([], new URL('../peers/pg-boss.ts', import.meta.url), { url, count });
    // Its tables.
    await run(1);
    return {
      async measure(seconds) {
        const { perSecond, sentPerSecond } = await run(Math.round(seconds * 500));
        return { value: perSecond, ok: true, note: `accepted at ${sentPerSecond.toFixed(0)} jobs/s` };
      },
      async [Symbol.asyncDispose]() {},
    };
  },
};
