import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { EgressDecision } from './core/grant.ts';
import { rankOf } from './core/isolation.ts';
import type { JobState } from './core/job.ts';
import type { Runtime } from './core/runtime.ts';
import type { Settled } from './engine/invoker.ts';
import type { Isolations } from './engine/isolation.ts';
import type { Limiter } from './engine/limiter.ts';
import type { Served } from './engine/reception.ts';

export type MetricsOptions = {
  limiter: Limiter;
  runtimes: readonly Runtime[];
  isolations: Isolations;
  tenancies: { readonly size: number; readonly plugins: number };
  /** How many jobs run on this node, and how many callers wait here for some. */
  jobs(): { running: number; waitedFor: number };
  /** Requests that are in plugins now. */
  serving(): number;
  /** What plugins have told whoever listens. */
  updates: { readonly counts: Readonly<Record<'told' | 'refused', number>> };
};

/**
 * Numbers for Prometheus. No label is anybody's own word: codes and runtimes are from our tables, so that no plugin
 * and no caller can make a series.
 */
export class Metrics {
  readonly #registry = new Registry();
  /** By code and runtime; prom-client is told when somebody asks, as telling it costs more than counting. */
  readonly #settled = new Map<string, { code: string; runtime: string; count: number }>();
  readonly #jobsSettled = new Map<string, number>();
  readonly #served = new Map<string, { code: string; status: string; count: number }>();
  readonly #servedSeconds: Histogram;
  readonly #egress: Counter<'verdict' | 'because'>;
  readonly #seconds: Histogram<'runtime'>;
  // Looking a label up by its values costs more than counting.
  readonly #times = new Map<string, Histogram.Internal<'runtime'>>();

  constructor({ limiter, runtimes, isolations, tenancies, jobs, serving, updates }: MetricsOptions) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    const settled = this.#settled;
    new Counter({
      name: 'isopod_invocations_total',
      help: 'Settled invocations by failure code (or ok) and runtime',
      labelNames: ['code', 'runtime'],
      registers,
      collect() {
        this.reset();
        for (const { code, runtime, count } of settled.values()) this.inc({ code, runtime }, count);
      },
    });
    this.#seconds = new Histogram({
      name: 'isopod_invocation_seconds',
      help: 'From asking to settling',
      labelNames: ['runtime'],
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
      registers,
    });
    const served = this.#served;
    new Counter({
      name: 'isopod_served_total',
      help: 'Requests to routes of plugins by failure code (or ok) and the class of what the plugin has answered (or none)',
      labelNames: ['code', 'status'],
      registers,
      collect() {
        this.reset();
        for (const { code, status, count } of served.values()) this.inc({ code, status }, count);
      },
    });
    this.#servedSeconds = new Histogram({
      name: 'isopod_served_seconds',
      help: 'From the arrival of a request to a route of a plugin to the end of its answer',
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
      registers,
    });
    const now = (name: string, help: string, value: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value());
        },
      });
    now('isopod_running', 'Invocations that run now', () => limiter.running);
    now('isopod_waiting', 'Invocations that wait for a place', () => limiter.waiting);
    now('isopod_serving', 'Requests to routes of plugins that are being answered', serving);
    now('isopod_tenants', 'Tenants that are loaded', () => tenancies.size);
    now('isopod_plugins', 'Plugins of the tenants that are loaded', () => tenancies.plugins);
    now('isopod_jobs_running', 'Jobs that run on this node now', () => jobs().running);
    now('isopod_jobs_waited_for', 'Callers that wait for jobs here', () => jobs().waitedFor);
    const jobsSettled = this.#jobsSettled;
    new Counter({
      name: 'isopod_jobs_settled_total',
      help: 'What came of jobs on this node; "again" is no end yet',
      labelNames: ['state'],
      registers,
      collect() {
        this.reset();
        for (const [state, count] of jobsSettled) this.inc({ state }, count);
      },
    });
    new Counter({
      name: 'isopod_updates_total',
      help: 'What plugins have told whoever listens, and what was refused as it is too large',
      labelNames: ['verdict'],
      registers,
      collect() {
        this.reset();
        for (const [verdict, count] of Object.entries(updates.counts)) this.inc({ verdict }, count);
      },
    });
    this.#egress = new Counter({
      name: 'isopod_egress_total',
      help: 'Attempts of plugins to reach other hosts, and what came of them',
      labelNames: ['verdict', 'because'],
      registers,
    });
    new Gauge({
      name: 'isopod_isolation_grade',
      help: 'What was proven last: 0 none, 1 limited, 2 fenced, 3 contained, 4 full',
      labelNames: ['of'],
      registers,
      collect() {
        for (const [of, { grade }] of isolations.all()) this.set({ of }, rankOf(grade));
      },
    });
    new Gauge({
      name: 'isopod_runtime',
      help: 'What the runtimes have going now, by name',
      labelNames: ['what'],
      registers,
      collect() {
        // Several runtimes may have theirs in one place.
        const residents = new Set(runtimes.flatMap((runtime) => runtime.residents ?? []));
        for (const one of [...runtimes, ...residents]) {
          for (const [what, value] of Object.entries(one.gauges())) this.set({ what }, value);
        }
      },
    });
  }

  jobSettled(state: JobState | 'again'): void {
    this.#jobsSettled.set(state, (this.#jobsSettled.get(state) ?? 0) + 1);
  }

  egress({ verdict, because }: EgressDecision): void {
    this.#egress.inc({ verdict, because });
  }

  settled({ plugin, outcome, totalMs }: Settled): void {
    const runtime = plugin?.program.runtime ?? 'none';
    const code = outcome.ok ? 'ok' : outcome.failure.code;
    const key = `${code} ${runtime}`;
    const known = this.#settled.get(key);
    if (known === undefined) this.#settled.set(key, { code, runtime, count: 1 });
    else known.count += 1;
    let times = this.#times.get(runtime);
    if (times === undefined) {
      times = this.#seconds.labels(runtime);
      this.#times.set(runtime, times);
    }
    times.observe(totalMs / 1_000);
  }

  served({ status, failure, totalMs }: Served): void {
    const code = failure?.code ?? 'ok';
    const kind = status === null ? 'none' : `${Math.trunc(status / 100)}xx`;
    const key = `${code} ${kind}`;
    const known = this.#served.get(key);
    if (known === undefined) this.#served.set(key, { code, status: kind, count: 1 });
    else known.count += 1;
    this.#servedSeconds.observe(totalMs / 1_000);
  }

  async text(): Promise<{ contentType: string; text: string }> {
    return { contentType: this.#registry.contentType, text: await this.#registry.metrics() };
  }
}
