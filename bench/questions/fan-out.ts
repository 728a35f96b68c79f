import { type Files, Isopod } from '../support/isopod.ts';
import { median, type OnceQuestion } from '../support/question.ts';

/** How many plugins have a hook for each of these. */
const TRIGGERS = { 'Tag.Create.Post': 1, 'Tag.Update.Post': 10, 'Tag.Destroy.Post': 100 } as const;
const PLUGINS = 100;

function hooked(at: number): Files {
  const triggers = Object.entries(TRIGGERS).flatMap(([trigger, plugins]) => (at < plugins ? [trigger] : []));
  return {
    'plugin.yml': `name: Bench\ninterface: js\nexec: [plugin.js]\nhooks:\n  - name: Hear\n    triggeredBy: [${triggers}]\n`,
    'plugin.js': `({ Output: input.Args.hookContext.id + ${at} });\n`,
  };
}

/** An event until the last of its hooks has been run and told, by the number of embedded plugins that hear of it. */
export const fanOut: OnceQuestion = {
  kind: 'once',
  name: 'fan-out',
  title: 'an event for 1 plugin, hooks run and answered, median',
  unit: 'ms',
  async run(options) {
    const ids = Array.from({ length: PLUGINS }, (_, at) => `hook${String(at).padStart(3, '0')}`);
    const plugins = Object.fromEntries(ids.map((id, at) => [id, hooked(at)]));
    await using isopod = await Isopod.start(options, plugins);
    const rounds = options.quick ? 10 : 50;
    const rows = [];
    for (const order of ['sequential', 'parallel'] as const) {
      const set = await isopod.ask('PATCH', '/v1/hooks', JSON.stringify({ order }));
      if (set.status !== 200) throw new Error(set.text);
      const side = order === 'parallel' ? ', side by side' : '';
      for (const [trigger, count] of Object.entries(TRIGGERS)) {
        if (order === 'parallel' && count === 1) continue;
        const times: number[] = [];
        let wrong = '';
        for (let round = -10; round < rounds; round++) {
          const body = JSON.stringify({ type: trigger, id: 1000, input: {}, inputFields: [] });
          const { status, text, ms } = await isopod.ask('POST', '/v1/events', body);
          if (status !== 200 || !allRan(text, count)) wrong ||= `WRONG: ${text.slice(0, 200)}`;
          if (round >= 0) times.push(ms);
        }
        const ms = median(times);
        rows.push({
          title: `an event for ${count} plugin${count === 1 ? '' : 's'}${side}, hooks run and answered, median`,
          value: ms,
          ok: wrong === '',
          note: wrong || `${(ms / count).toFixed(2)} ms a hook`,
        });
      }
    }
    return rows;
  },
};

function allRan(text: string, count: number): boolean {
  const { hooks = [] } = JSON.parse(text) as { hooks?: { status: string; output: unknown }[] };
  return hooks.length === count && hooks.every(({ status, output }, at) => status === 'ran' && output === 1000 + at);
}
