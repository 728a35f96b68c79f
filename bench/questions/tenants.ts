import { setTimeout as sleep } from 'node:timers/promises';
import { HANDLER, Isopod, right, script } from '../support/isopod.ts';
import { load, sampleOf } from '../support/load.ts';
import { sharedOutMb } from '../support/memory.ts';
import { median, type OnceQuestion } from '../support/question.ts';

const BUSY = 10;
/** Newcomers whose first calls are timed, with time between them as newcomers have it. */
const NEW = 10;
const NEW_EVERY_MS = 1_200;

/** Many tenants with a plugin each, all called once, of which ten are busy: what they need, and what they get. */
export const tenants: OnceQuestion = {
  kind: 'once',
  name: 'tenants',
  title: 'memory with 1,000 tenants, ten of them busy, without PostgreSQL',
  unit: 'MB',
  targets: [{ atMost: 1024 }],
  async run(options) {
    const { quick } = options;
    const count = quick ? 100 : 1000;
    const names = Array.from({ length: count + NEW }, (_, index) => `tenant${index}`);
    const ids = names.map((name) => `${name}/plugin`);
    const wrong: string[] = [];

    await using isopod = await Isopod.start(options, { alone: script(HANDLER) });
    const { pid } = isopod.child;
    await isopod.warm('alone', 'a frozen realm');
    for (const name of names) await isopod.add(name, 'plugin', script(`// ${name}\n${HANDLER}`));
    const before = sharedOutMb(pid);
    const called = async (id: string) => {
      const answer = await isopod.call(id);
      if (!right(answer)) wrong.push(answer.text);
      return answer.ms;
    };
    for (const id of ids.slice(NEW)) await called(id);
    const after = sharedOutMb(pid);
    const firstMs: number[] = [];
    for (const id of ids.slice(0, NEW)) {
      await sleep(NEW_EVERY_MS);
      firstMs.push(await called(id));
    }

    const busy = ids.slice(0, BUSY);
    for (const id of busy) await isopod.warm(id, 'a frozen realm');
    const rates: Record<'one' | 'ten', number[]> = { one: [], ten: [] };
    const paths = { one: [isopod.path('alone')], ten: busy.map((id) => isopod.path(id)) };
    let most = after;
    // In turns, so that a noisy machine is noisy for both.
    for (let round = 0; round < (quick ? 2 : 5); round += 1) {
      for (const who of ['one', 'ten'] as const) {
        const measured = load({ port: isopod.port, paths: paths[who], seconds: quick ? 1 : 3 });
        await sleep(500);
        const now = sharedOutMb(pid);
        if (now.ours > most.ours) most = now;
        const sample = sampleOf(await measured);
        if (!sample.ok) wrong.push(sample.note ?? '');
        rates[who].push(sample.value);
      }
    }

    const said = wrong.length === 0 ? '' : `${wrong.length} answers WRONG, e.g. ${wrong[0]?.slice(0, 300)}; `;
    const mb = `${before.ours.toFixed(0)} MB with none called, ${after.ours.toFixed(0)} MB with each called once`;
    const [one, ten] = [median(rates.one), median(rates.ten)];
    return [
      { value: most.ours, ok: wrong.length === 0, note: `${said}${count} tenants: ${mb}` },
      { title: 'and PostgreSQL', value: most.postgres, ok: true },
      { title: 'first call of a tenant while all executors are taken', unit: 'ms', value: median(firstMs), ok: true },
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
