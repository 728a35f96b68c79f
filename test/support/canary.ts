// A service under attack: hostile embedded plugins, and beside them plugins that nobody may disturb.
import { strict as assert } from 'node:assert';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer, TestService } from './client.ts';
import { merged, type Overrides } from './overrides.ts';
import { startTestService } from './service.ts';

export type HostileCase = {
  /** A sentence, with the number of the conformance case where there is one. */
  name: string;
  code: string;
  /** The failure code, or `ok`; several where different engines rightly end it in different ways. */
  expect: string | readonly string[];
  /** More that must be so. */
  check?: (answer: Answer) => void;
  limits?: Record<string, number>;
};

/** The longest that the front end may hold up the health route, in ms. */
const HEALTH_MS = 250;

/** The longest that memory may take to be as it was, in ms. */
const BACK_MS = 10_000;

/** Two innocents: one is soon run on the brief lane, the other calls the host and stays on the long one. */
const CANARIES = {
  'canary-brief': '({ Output: input.Args.n + 1 });',
  'canary-long': 'util.Sleep(2); ({ Output: input.Args.n + 1 });',
};

/** A service with the plugins of `codes`, while canaries and the health route are called without a pause. */
export class Coop implements AsyncDisposable {
  readonly service: TestService;
  readonly #loops: Promise<void>[];
  #trouble: string[] = [];
  #slowestMs = 0;
  #calls = 0;
  #linesRead = 0;
  #over = false;
  #residentMb = 0;

  private constructor(service: TestService) {
    this.service = service;
    this.#loops = [this.#watchHealth(), ...Object.keys(CANARIES).map((canary) => this.#sing(canary))];
  }

  static async start(codes: Record<string, string>, config: Overrides): Promise<Coop> {
    const plugins: Record<string, Record<string, string>> = {};
    for (const [id, code] of Object.entries({ ...CANARIES, ...codes })) {
      plugins[id] = { [`${id}.yml`]: `name: ${id}\ninterface: js\nexec: [${id}.js]\n`, [`${id}.js`]: code };
    }
    // One plugin after the other breaks its executor here; that is not what is tested.
    const base = { quarantine: { offences: 1000 }, executors: { most: 4, idleMs: 500 } };
    const coop = new Coop(await startTestService({ plugins, config: merged(base, config) }));
    // Long enough for the canaries to have earned their ways.
    await sleep(1500);
    coop.#residentMb = executorsMb();
    return coop;
  }

  /** Calls a plugin, and looks at what its hosts went through. */
  async run(plugin: string, body: { args?: unknown; limits?: Record<string, number> } = {}): Promise<Answer> {
    const answer = await this.service.invoke(plugin, body, '?include=logs');
    await this.assertUnharmed();
    return answer;
  }

  async runCase(plugin: string, { expect, check, limits }: HostileCase): Promise<void> {
    const answer = await this.run(plugin, limits === undefined ? {} : { limits });
    const code = codeOf(answer);
    assert((typeof expect === 'string' ? [expect] : expect).includes(code), `${code}: ${answer.text.slice(0, 1000)}`);
    check?.(answer);
  }

  /** The invariants of the conformance cases, after something hostile was run. */
  async assertUnharmed(): Promise<void> {
    await this.#all();
    assert.deepEqual(this.#trouble.splice(0), []);
    const slowestMs = this.#slowestMs;
    this.#slowestMs = 0;
    assert(slowestMs < HEALTH_MS, `the health route was held up for ${slowestMs} ms`);
    for (const line of this.service.lines.slice(this.#linesRead)) {
      assert(!line.trimEnd().includes('\n'), line);
      assert.equal(typeof JSON.parse(line), 'object');
    }
    this.#linesRead = this.service.lines.length;
    await this.#assertProcesses();
  }

  /** What all the hostile plugins together have left behind is gone soon. */
  async assertMemoryIsBack(): Promise<void> {
    const most = this.#residentMb * 1.1;
    const until = performance.now() + BACK_MS;
    for (let now = executorsMb(); now > most; now = executorsMb()) {
      assert(performance.now() < until, `executors have ${sizesMb()} MB, and had ${this.#residentMb} MB together`);
      await sleep(100);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true;
    await Promise.all(this.#loops);
    await this.service[Symbol.asyncDispose]();
    for (let tries = 0; executorPids().length > 0 && tries < 100; tries += 1) await sleep(20);
    assert.deepEqual(executorPids(), []);
  }

  /** Each canary once more, from now on. */
  async #all(): Promise<void> {
    await Promise.all([...Object.keys(CANARIES).map((canary) => this.#call(canary)), this.#health()]);
  }

  /** There are no executors but those that are counted. */
  async #assertProcesses(): Promise<void> {
    for (let tries = 0; ; tries += 1) {
      const { text } = await this.service.get('/metrics');
      const counted = Number(/isopod_runtime\{what="executors"\} (\d+)/.exec(text)?.[1]);
      const found = executorPids().length;
      if (found <= counted && counted <= this.service.config.executors.most) return;
      assert(tries < 100, `${found} processes, ${counted} executors`);
      await sleep(20);
    }
  }

  async #sing(canary: string): Promise<void> {
    while (!this.#over) {
      await this.#call(canary);
      await sleep(15);
    }
  }

  async #call(canary: string): Promise<void> {
    this.#calls += 1;
    const n = this.#calls;
    try {
      const { status, body, text } = await this.service.invoke(canary, { args: { n } });
      if (status !== 200 || body.output !== n + 1) this.#trouble.push(`${canary}: ${status} ${text}`);
    } catch (error) {
      this.#trouble.push(`${canary}: ${error}`);
    }
  }

  async #watchHealth(): Promise<void> {
    while (!this.#over) {
      await this.#health();
      await sleep(15);
    }
  }

  async #health(): Promise<void> {
    const [askedAt, busyMs] = [performance.now(), busySoFarMs()];
    try {
      const { status } = await this.service.get('/healthz');
      if (status !== 200) this.#trouble.push(`the health route answered ${status}`);
    } catch (error) {
      this.#trouble.push(`the health route: ${error}`);
    }
    this.#slowestMs = Math.max(this.#slowestMs, Math.min(performance.now() - askedAt, busySoFarMs() - busyMs));
  }
}

export function codeOf({ status, body }: Answer): string {
  return status === 200 ? 'ok' : String(body?.code);
}

/** The plugins of `cases`, with the ids that they are called by. */
export function pluginsOf(cases: readonly HostileCase[]): Record<string, string> {
  return Object.fromEntries(cases.map(({ code }, at) => [`case-${at}`, code]));
}

/**
 * How long this thread has been busy, in ms. What stood in the way of the health route was in here: that other tests
 * had the processor is no fault of a plugin.
 */
function busySoFarMs(): number {
  return Number(readOrNothing('/proc/self/schedstat').split(' ')[0]) / 1e6;
}

/** Processes of ours that run executors. */
function executorPids(): number[] {
  const pids: number[] = [];
  for (const task of readdirSync('/proc/self/task')) {
    const children = readOrNothing(`/proc/self/task/${task}/children`).split(' ');
    for (const pid of children) {
      if (pid !== '' && readOrNothing(`/proc/${pid}/cmdline`).includes('isolate/guest/')) pids.push(Number(pid));
    }
  }
  return pids;
}

/** The resident memory of each, in MB. */
function sizesMb(): number[] {
  return executorPids().map((pid) => {
    const kb = /^VmRSS:\s+(\d+)/m.exec(readOrNothing(`/proc/${pid}/status`))?.[1];
    return Math.round(Number(kb ?? 0) / 1024);
  });
}

function executorsMb(): number {
  return sizesMb().reduce((sum, one) => sum + one, 0);
}

/** What is in a file under /proc, which may be gone by now. */
function readOrNothing(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
