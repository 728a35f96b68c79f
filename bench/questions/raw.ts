import { availableParallelism } from 'node:os';
import { jsonFrom } from '../support/children.ts';
import { HANDLER } from '../support/isopod.ts';
import { ARGS } from '../support/load.ts';
import type { RateQuestion } from '../support/question.ts';

const PROGRAM = new URL('../peers/raw-loop.ts', import.meta.url);

/** No HTTP, no limits, no prelude: a loop in one process for each core. */
export const raw: RateQuestion = {
  kind: 'rate',
  name: 'raw',
  title: 'raw isolated-vm, fresh contexts, a process a core, no HTTP',
  unit: 'runs/s',
  async open() {
    return {
      async measure(seconds) {
        const input = { seconds, handler: HANDLER, args: ARGS, expect: '{"Output":{"name":"isopod","total":15}}' };
        const results = await Promise.all(
          Array.from({ length: availableParallelism() }, () =>
            jsonFrom<{ perSecond: number; bad: number }>(['--no-node-snapshot'], PROGRAM, input),
          ),
        );
        const bad = results.reduce((sum, one) => sum + one.bad, 0);
        return {
          value: results.reduce((sum, one) => sum + one.perSecond, 0),
          ok: bad === 0,
          note: bad === 0 ? '' : `${bad} answers WRONG`,
        };
      },
      async [Symbol.asyncDispose]() {},
    };
  },
};
