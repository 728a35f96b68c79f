import { Isopod, SERVER, SERVING } from '../support/isopod.ts';
import { load, sampleOf } from '../support/load.ts';
import type { RateQuestion } from '../support/question.ts';

export const routed: RateQuestion = {
  kind: 'rate',
  name: 'routed',
  title: 'isopod, a route of a server plugin (Express 4)',
  unit: 'req/s',
  targets: [{ of: 'proxied', atLeast: 0.5 }],
  async open(options) {
    const isopod = await Isopod.start(options, { bench: SERVER }, SERVING);
    await isopod.trust('bench');
    const what = { port: isopod.port, paths: ['/api/plugins/bench/'] };
    await load({ ...what, seconds: 1 });
    return {
      measure: async (seconds) => sampleOf(await load({ ...what, seconds })),
      [Symbol.asyncDispose]: () => isopod[Symbol.asyncDispose](),
    };
  },
};
