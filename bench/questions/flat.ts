import { FRESH_HANDLER, HANDLER, Isopod, script } from '../support/isopod.ts';
import { load, sampleOf } from '../support/load.ts';
import { treeMb } from '../support/memory.ts';
import { at, type OnceQuestion } from '../support/question.ts';

const EVERY_MS = 250;

/** Both ways to run, in turns, under full load: front end and executors together must not grow. */
export const flat: OnceQuestion = {
  kind: 'once',
  name: 'flat',
  title: 'memory under load, second half: highest / lowest',
  unit: '×',
  targets: [{ atMost: 1.25 }],
  async run(options) {
    const seconds = options.quick ? 10 : 60;
    await using isopod = await Isopod.start(options, { frozen: script(HANDLER), fresh: script(FRESH_HANDLER) });
    await isopod.warm('frozen', 'a frozen realm');
    await isopod.warm('fresh', 'a fresh context made ahead');
    const sizes: { s: number; mb: number }[] = [];
    const from = performance.now();
    const timer = setInterval(() => {
      sizes.push({ s: (performance.now() - from) / 1000, mb: treeMb(isopod.child.pid) });
    }, EVERY_MS);
    const paths = [isopod.path('frozen'), isopod.path('fresh')];
    const sample = sampleOf(await load({ port: isopod.port, paths, seconds }));
    clearInterval(timer);
    const half = sizes.slice(sizes.length >> 1);
    const mbs = half.map(({ mb }) => mb);
    const [low, high] = [Math.min(...mbs), Math.max(...mbs)];
    const note = `${seconds} s at ${sample.value.toFixed(0)} req/s; ${low.toFixed(0)} to ${high.toFixed(0)} MB`;
    return [
      { value: high / low, ok: sample.ok, note: sample.ok ? note : `${note}; ${sample.note}` },
      { title: 'slope of it', unit: 'MB/min', value: slope(half) * 60, ok: true },
    ];
  },
};

/** Least squares, in MB a second. */
function slope(points: readonly { s: number; mb: number }[]): number {
  const meanS = points.reduce((sum, { s }) => sum + s, 0) / points.length;
  const meanMb = points.reduce((sum, { mb }) => sum + mb, 0) / points.length;
  const over = points.reduce((sum, { s, mb }) => sum + (s - meanS) * (mb - meanMb), 0);
  const under = points.reduce((sum, { s }) => sum + (s - meanS) ** 2, 0);
  return points.length < 2 ? at([], 0) : over / under;
}
