import { setTimeout as sleep } from 'node:timers/promises';
import { HANDLER, Isopod, right, script } from '../support/isopod.ts';
import { load, sampleOf } from '../support/load.ts';
import { treeMb } from '../support/memory.ts';
import { median, type OnceQuestion, type Options } from '../support/question.ts';

const BUSY = 10;

/** Many tenants with a plugin each, all called once, of which ten are busy: what they need, and what they get. */
export const tenants: OnceQuestion = {
  kind: 'once',
  name: 'tenants',
  title: 'resident memory with 1,000 tenants, ten of them busy, without PostgreSQL',
  unit: 'MB',
  targets: [{ atMost: 1024 }],
  async run(options) {
    const count = options.quick ? 100 : 1000;
    await using isopod = await Isopod.start(options, { alone: script(HANDLER) });
    await isopod.warm('alone', 'a frozen realm');
    const ids = Array.from({ length: count }, (_, index) => `tenant${index}/plugin`);
    for (const id of ids) await isopod.add(id.split('/')[0] ?? '', 'plugin', script(`// ${id}\n${HANDLER}`));
    const pid = isopod.child.pid;
    const sizeMb = () => treeMb(pid) - treeMb(pid, 'postgres');
    const before = sizeMb();

    const times: number[] = [];
    const wrong: string[] = [];
    for (const id of ids) {
      const answer = await isopod.call(id);
      times.push(answer.ms);
      if (!right(answer)) wrong.push(answer.text);
    }
    const idle = sizeMb();

    const busy = ids.slice(0, BUSY);
    for (const id of busy) await isopod.warm(id, 'a frozen realm');
    const { one, ten, busyMb, trouble } = await compared(isopod, busy, options, sizeMb);
    if (trouble !== '') wrong.push(trouble);
    await sleep(1500);

    const mb = `${before.toFixed(0)} MB with none called, ${idle.toFixed(0)} MB with each called once`;
    const said = wrong.length === 0 ? '' : `${wrong.length} answers WRONG, e.g. ${wrong[0]?.slice(0, 300)}; `;
    return [
      { value: busyMb, ok: wrong.length === 0, note: `${said}${count} tenants: ${mb}` },
      {
        title: 'PostgreSQL with them',
        value: treeMb(pid, 'postgres'),
        ok: true,
        note: 'what its processes share counted for each',
      },
      {
        title: 'first call of each of many tenants, one after the other, median',
        unit: 'ms',
        value: median(times),
        ok: true,
        note: `slowest ${Math.max(...times).toFixed(0)} ms`,
      },
      {
        title: 'ten busy tenants together / one with one plugin',
        unit: '×',
        value: ten / one,
        ok: true,
        note: `${ten.toFixed(0)} against ${one.toFixed(0)} req/s`,
      },
    ];
  },
};

/** In turns, so that a noisy machine is noisy for both. */
async function compared(isopod: Isopod, busy: string[], { quick }: Options, sizeMb: () => number) {
  const rates: Record<'one' | 'ten', number[]> = { one: [], ten: [] };
  const paths = { one: [isopod.path('alone')], ten: busy.map((id) => isopod.path(id)) };
  let busyMb = 0;
  let trouble = '';
  for (let round = 0; round < (quick ? 2 : 5); round += 1) {
    for (const who of ['one', 'ten'] as const) {
      const sample = sampleOf(await load({ port: isopod.port, paths: paths[who], seconds: quick ? 1 : 3 }));
      if (!sample.ok) trouble ||= sample.note ?? '';
      rates[who].push(sample.value);
    }
    busyMb = Math.max(busyMb, sizeMb());
  }
  return { one: median(rates.one), ten: median(rates.ten), busyMb, trouble };
}
