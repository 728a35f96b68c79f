import { JobBench } from '../support/jobs.ts';
import type { OnceQuestion, OnceRow } from '../support/question.ts';

// So few that the cores of a small machine are no bound: this is about places.
const AT_ONCE = 2;
const RUN_MS = 20;

/** Jobs that wait more than they compute, as those that call somebody do: more nodes run more of them. */
export const nodes: OnceQuestion = {
  kind: 'once',
  name: 'nodes',
  title: `jobs of ${RUN_MS} ms, ${AT_ONCE} at once, on 1 node`,
  unit: 'jobs/s',
  async run(options) {
    const rows: OnceRow[] = [];
    for (const count of [1, 3]) {
      const env = { ISOPOD_JOBS_AT_ONCE: String(AT_ONCE) };
      const source = `util.Sleep(${RUN_MS}); ({ Output: null })`;
      await using bench = await JobBench.start(options, source, { nodes: count, env });
      const { value, ok, note } = await bench.run(count * (options.quick ? 100 : 400));
      rows.push({
        ...(count === 1 ? {} : { title: `the same on ${count} nodes` }),
        value,
        ok,
        note: `${note}; ${((count * AT_ONCE * 1_000) / RUN_MS).toFixed(0)} would be ideal`,
      });
    }
    return rows;
  },
};
