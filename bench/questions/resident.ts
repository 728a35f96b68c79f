import { Isopod, RESIDENT, right } from '../support/isopod.ts';
import { ARGS, load, sampleOf } from '../support/load.ts';
import type { RateQuestion } from '../support/question.ts';

const BODY = JSON.stringify({ task: 'add', args: ARGS });

export const resident: RateQuestion = {
  kind: 'rate',
  name: 'resident',
  title: 'isopod, an action of a plugin that stays (Python)',
  unit: 'req/s',
  targets: [{ of: 'echo', atLeast: 0.1 }],
  async open(options) {
    const isopod = await Isopod.start(options, { bench: RESIDENT });
    await isopod.enable('bench');
    const first = await isopod.call('bench', BODY);
    if (!right(first)) throw new Error(`the plugin does not answer as it should: ${first.text}`);
    const what = { port: isopod.port, paths: [isopod.path('bench')], body: BODY };
    return {
      measure: async (seconds) => sampleOf(await load({ ...what, seconds })),
      [Symbol.asyncDispose]: () => isopod[Symbol.asyncDispose](),
    };
  },
};
