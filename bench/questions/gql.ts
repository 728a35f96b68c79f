import { Application, QUERY, VARIABLES } from '../support/application.ts';
import { Isopod, script } from '../support/isopod.ts';
import type { RateQuestion } from '../support/question.ts';

/** In one invocation: below what one may ask. What an invocation costs by itself is then little of it. */
const CALLS = 500;

const ASKING = `let right = 0;
for (let call = 0; call < ${CALLS}; call++) {
  if (gql.Do(${JSON.stringify(QUERY)}, ${JSON.stringify(VARIABLES)}).findScene.title === 'A scene') right += 1;
}
({ Output: right });`;

/** A plugin that asks its application one query after the other: out of its isolate and executor, and there by HTTP. */
export const gql: RateQuestion = {
  kind: 'rate',
  name: 'gql',
  title: 'isopod, gql.Do of an embedded plugin, one by one',
  unit: 'calls/s',
  targets: [{ of: 'direct', atLeast: 0.5 }],
  async open(options) {
    await using scope = new AsyncDisposableStack();
    const application = scope.use(await Application.start());
    const env = { ISOPOD_APPLICATION_URL: application.url };
    const isopod = scope.use(await Isopod.start(options, { bench: script(ASKING) }, env));
    const ask = async () => {
      const { text } = await isopod.call('bench', '{"args":{}}');
      if (!text.includes(`"output":${CALLS},`)) throw new Error(text.slice(0, 300));
    };
    await ask();
    const owned = scope.move();
    return {
      async measure(seconds) {
        const startedAt = performance.now();
        let calls = 0;
        for (; performance.now() - startedAt < seconds * 1000; calls += CALLS) await ask();
        return { value: (calls / (performance.now() - startedAt)) * 1000, ok: true };
      },
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  },
};
