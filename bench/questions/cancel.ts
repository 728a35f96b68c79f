import { setTimeout as sleep } from 'node:timers/promises';
import { JobBench, spread } from '../support/jobs.ts';
import type { OnceQuestion } from '../support/question.ts';

/** Of a busy loop, which nothing but force ends: from asking for its end until that is kept and answered. */
export const cancel: OnceQuestion = {
  kind: 'once',
  name: 'cancel',
  title: 'cancelling a job that runs, p50',
  unit: 'ms',
  async run(options) {
    await using bench = await JobBench.start(options, 'if (input.Args.stay) for (;;); ({ Output: null })');
    const [node] = bench.nodes;
    const times: number[] = [];
    let example = '';
    for (let count = 0; count < (options.quick ? 5 : 20); count += 1) {
      const added = await node?.ask('POST', '/v1/jobs', '{"plugin":"bench","args":{"stay":true}}');
      const { id } = JSON.parse(added?.text ?? '{}') as { id: string };
      // Not only begun, but in the midst of it.
      await sleep(500);
      const answer = await node?.ask('POST', `/v1/jobs/${id}/cancel`);
      const { state } = JSON.parse(answer?.text ?? '{}') as { state?: string };
      if (state !== 'cancelled') example ||= answer?.text ?? 'no answer';
      times.push(answer?.ms ?? Number.NaN);
    }
    const { p50, p95 } = spread(times);
    const [ok, note] = [example === '', example];
    return [
      { value: p50, ok, note },
      { title: 'the same, p95', value: p95, ok, note },
    ];
  },
};
