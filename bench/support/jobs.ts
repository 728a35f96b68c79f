/** isopod with a database of the bench, and jobs that it is asked for over HTTP. */
import { Isopod, script } from './isopod.ts';
import { load } from './load.ts';
import { median, type Options, type Sample } from './question.ts';
import { Watch } from './settled.ts';

const CONNECTIONS = 16;
const UNENDED = `select from isopod.jobs where state in ('waiting', 'running') limit 1`;

export class JobBench implements AsyncDisposable {
  readonly nodes: readonly Isopod[];
  readonly #watch: Watch;

  private constructor(nodes: readonly Isopod[], watch: Watch) {
    this.nodes = nodes;
    this.#watch = watch;
  }

  /** So many nodes on one database, with one embedded plugin, "bench". */
  static async start(
    options: Options,
    source: string,
    { nodes = 1, env = {} }: { nodes?: number; env?: Record<string, string> } = {},
  ): Promise<JobBench> {
    await using scope = new AsyncDisposableStack();
    const url = await options.databases.create();
    const all: Isopod[] = [];
    for (let count = 0; count < nodes; count += 1) {
      all.push(scope.use(await Isopod.start(options, { bench: script(source) }, { DATABASE_URL: url, ...env })));
    }
    const watch = scope.use(await Watch.open(url, UNENDED));
    const bench = new JobBench(all, watch);
    // Executors are up, and the plugin has earned its way.
    await bench.run(50);
    scope.move();
    return bench;
  }

  /** Jobs a second, from asking for the first to the end of the last. */
  async run(count: number): Promise<Sample> {
    const body = JSON.stringify({ plugin: 'bench' });
    const each = Math.ceil(count / this.nodes.length);
    const loads = await Promise.all(
      this.nodes.map(({ port }) =>
        load({
          port,
          paths: ['/v1/jobs'],
          body,
          seconds: 60,
          count: each,
          status: 202,
          expect: '"plugin":"bench"',
          connections: Math.ceil(CONNECTIONS / this.nodes.length),
        }),
      ),
    );
    const overAt = await this.#watch.over();
    const startedAt = Math.min(...loads.map((one) => one.startedAt));
    const done = loads.reduce((sum, one) => sum + one.done, 0);
    const wrong = loads.find(({ bad }) => bad > 0);
    const asked = loads.reduce((sum, one) => sum + one.perSecond, 0);
    return {
      value: done / ((overAt - startedAt) / 1_000),
      ok: wrong === undefined && done >= count,
      note: wrong === undefined ? `accepted at ${asked.toFixed(0)} jobs/s` : `WRONG: ${wrong.example}`,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#watch, ...this.nodes].map((one) => one[Symbol.asyncDispose]()));
  }
}

/** The middle, and the value that a twentieth is above. */
export function spread(values: readonly number[]): { p50: number; p95: number } {
  const sorted = values.toSorted((a, b) => a - b);
  return { p50: median(values), p95: sorted[Math.ceil(sorted.length * 0.95) - 1] ?? Number.NaN };
}
