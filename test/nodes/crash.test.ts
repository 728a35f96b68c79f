// Goal: what was accepted comes to one end, whatever is killed meanwhile; and everything is well again after it.
// Method: clients that ask as decent clients do, each thing under a key of its own and again until it is accepted, while
// nodes, executors and PostgreSQL itself are killed under them, over and over. Then the books are compared.
import { strict as assert } from 'node:assert';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { hasEnded } from '../../src/core/job.ts';
import { EmbeddedServer } from '../../src/store/embedded/server.ts';
import { type Answer, ask } from '../support/client.ts';
import { urlOf } from '../support/databases.ts';
import { below, isThere, js, type Node, Nodes, python } from '../support/nodes.ts';

vi.setConfig({ testTimeout: 180_000, hookTimeout: 60_000 });

const CLIENTS = 6;
/** Between two faults. */
const CALM_MS = 2_500;
const ASK_MS = 10_000;
const SETTLED_MS = 60_000;

const MARK = 'with open(args["file"], "a") as file: file.write("x")\ntime.sleep(args["s"])\noutput = args["key"]';

/** What a client was promised. */
type Accepted = { id: string; key: string; file: string | null };

/** Clients that ask any node that is there, and look after what they were promised. */
class Clients {
  readonly accepted: Accepted[] = [];
  /** As each job was when it was first seen to have ended. */
  readonly ends = new Map<string, Answer['body']>();
  retries = 0;
  #over = false;
  readonly #nodes: () => Node[];
  readonly #folder: string;
  readonly #loops: Promise<void>[];

  constructor(nodes: () => Node[], folder: string) {
    this.#nodes = nodes;
    this.#folder = folder;
    this.#loops = Array.from({ length: CLIENTS }, () => this.#work());
    // What goes wrong is said by `finish`.
    for (const loop of this.#loops) loop.catch(() => {});
  }

  /** Resolves when none has anything under way. */
  async finish(): Promise<void> {
    this.#over = true;
    await Promise.all(this.#loops);
  }

  async #work(): Promise<void> {
    for (let round = 0; !this.#over; round += 1) {
      const key = randomUUID();
      const file = round % 3 === 0 ? join(this.#folder, key) : null;
      const request = {
        ...(file === null
          ? { plugin: 'echo', args: { key, ms: round % 2 === 0 ? 0 : 100 } }
          : { plugin: 'mark', args: { key, file, s: 0.3 } }),
        retries: { most: 10, delayMs: 100 },
      };
      const { id } = await this.#insist('/v1/jobs', request, key);
      this.accepted.push({ id, key, file });
      // It may be that the answer was lost, for all that a client knows.
      if (round % 4 === 0) expect((await this.#insist('/v1/jobs', request, key)).id).toBe(id);
      const earlier = this.accepted[Math.floor(Math.random() * this.accepted.length)];
      if (earlier !== undefined) this.saw(await this.#insist(`/v1/jobs/${earlier.id}`));
      await sleep(60);
    }
  }

  /** An end is the end: it is the same whenever it is looked at. */
  saw(job: Answer['body']): void {
    if (!hasEnded(job)) return;
    const before = this.ends.get(job.id);
    if (before === undefined) this.ends.set(job.id, job);
    else expect(job).toEqual(before);
  }

  /** Asks until somebody is there to answer. Anything but an answer, or "not now", is wrong. */
  async #insist(path: string, body?: unknown, key = ''): Promise<Answer['body']> {
    for (;;) {
      const nodes = this.#nodes();
      const node = nodes[Math.floor(Math.random() * nodes.length)] as Node;
      const init =
        body === undefined
          ? {}
          : {
              method: 'POST',
              body: JSON.stringify(body),
              headers: { 'content-type': 'application/json', 'idempotency-key': key },
            };
      const signal = AbortSignal.timeout(ASK_MS);
      const answer = await ask(node.url + path, { ...init, signal }).catch(() => null);
      if (answer !== null && answer.status < 300) return answer.body;
      assert(answer === null || answer.status === 503, `${path}: ${answer?.text}`);
      this.retries += 1;
      await sleep(100);
    }
  }
}

test('whatever is killed, each accepted job comes to one end, and all is well again', async () => {
  await using scope = new AsyncDisposableStack();
  const dataDir = await mkdtemp(join(tmpdir(), 'isopod-crash-'));
  scope.defer(() => rm(dataDir, { recursive: true, force: true }));
  const server = scope.use(await EmbeddedServer.start({ dataDir }));
  const nodes = scope.use(
    await Nodes.open({
      plugins: { ...js('echo', 'util.Sleep(input.Args.ms); ({ Output: input.Args.key });'), ...python('mark', MARK) },
      // A plugin that was alone in an executor that died is suspected of it, and this one is innocent.
      env: { ISOPOD_QUARANTINE_OFFENCES: '1000' },
      databaseUrl: urlOf(server.connection, 'postgres'),
    }),
  );
  const marks = await nodes.meeting('mark');
  let alive: Node[] = await Promise.all([nodes.start(), nodes.start()]);
  const clients = new Clients(() => alive, marks);

  const replaceNode = async () => {
    const [doomed, ...others] = alive as [Node, ...Node[]];
    const replacing = nodes.start();
    alive = others;
    await doomed.signal('SIGKILL');
    await doomed.assertNothingLeft();
    alive = [...others, await replacing];
  };
  const killExecutors = async () => {
    const executors = alive.flatMap((node) => node.below().filter(({ command }) => command.includes('/guest/')));
    expect(executors.length).toBeGreaterThan(0);
    for (const { pid } of executors) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // What it is confined with was killed just now, and it with that.
      }
    }
  };
  const killPostgres = async () => {
    const file = await readFile(join(dataDir, 'postgres/18/data/postmaster.pid'), 'utf8');
    process.kill(Number.parseInt(file, 10), 'SIGKILL');
  };
  const faults = [killExecutors, killPostgres, replaceNode, killExecutors, killPostgres, killExecutors, replaceNode];
  for (const fault of faults) {
    await sleep(CALM_MS);
    await fault();
  }
  await sleep(CALM_MS);
  await clients.finish();

  const count = async (rest: string) => (await nodes.sql(`select count(*)::int as count ${rest}`))[0]?.count;
  await vi.waitFor(async () => expect(await count(`from jobs where state in ('waiting', 'running')`)).toBe(0), {
    timeout: SETTLED_MS,
    interval: 250,
  });
  // Each key has led to one job, and no job has come of nothing.
  expect(new Set(clients.accepted.map(({ id }) => id)).size).toBe(clients.accepted.length);
  expect(await count('from jobs')).toBe(clients.accepted.length);
  for (const [at, { id, key, file }] of clients.accepted.entries()) {
    const { body: job } = await (alive[at % alive.length] as Node).get(`/v1/jobs/${id}`);
    clients.saw(job);
    expect(job).toMatchObject({ state: 'succeeded', output: key });
    // What is tried again may have been run before, and never more often than that.
    const runs = file === null ? null : readFileSync(file, 'utf8').length;
    if (runs !== null) expect([runs > 0, runs <= job.attempt]).toEqual([true, true]);
  }
  expect(clients.retries).toBeGreaterThan(0);
  for (const node of alive) expect((await node.get('/readyz')).status).toBe(200);

  const all = below(process.pid);
  await scope.disposeAsync();
  await vi.waitFor(() => expect(all.filter(isThere)).toEqual([]), { timeout: 10_000 });
});
