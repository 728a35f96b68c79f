import { JobBench, spread } from '../support/jobs.ts';
import type { OnceQuestion } from '../support/question.ts';

/** On an idle service: from sending the request to the first line of the plugin, by the clock of the machine. */
export const enqueueToStart: OnceQuestion = {
  kind: 'once',
  name: 'enqueue-to-start',
  title: 'enqueue to start, one job at a time, p50',
  unit: 'ms',
  async run(options) {
    await using bench = await JobBench.start(options, '({ Output: Date.now() })');
    const [node] = bench.nodes;
    const times: number[] = [];
    let example = '';
    for (let count = 0; count < (options.quick ? 30 : 200); count += 1) {
      const askedAt = performance.timeOrigin + performance.now();
      const answer = await node?.ask('POST', '/v1/jobs', '{"plugin":"bench"}', { prefer: 'wait=10' });
      const { state, output } = JSON.parse(answer?.text ?? '{}') as { state?: string; output?: number };
      if (state !== 'succeeded' || output === undefined) example ||= answer?.text ?? 'no answer';
      else times.push(output - askedAt);
    }
    const { p50, p95 } = spread(times);
    const [ok, note] = [example === '', example];
    return [
      { value: p50, ok, note },
      { title: 'the same, p95', value: p95, ok, note },
    ];
  },
};
