// Nodes that end in the middle of their work: killed, or told to. Nothing is lost, and nothing ends twice.
import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type Node, Nodes, python } from '../support/nodes.ts';

// Nodes take their time to start where cores are shared.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

// Says when it was begun, and takes its time; tried again it is done at once, unless it is stubborn.
const RUN = `
fresh = not os.path.exists(args["file"])
with open(args["file"], "a") as file:
    file.write(f"{time.time() * 1000}\\n")
if fresh or args.get("stubborn"):
    time.sleep(args["s"])
output = "fresh" if fresh else "again"
`;
const AT_ONCE = 3;
/** What is promised: the jobs of a lost node run again within this. */
const AGAIN_MS = 15_000;

const scope = new AsyncDisposableStack();
let nodes: Nodes;
let meeting: string;

beforeAll(async () => {
  const env = { ISOPOD_DRAIN_MS: '3000', ISOPOD_JOBS_AT_ONCE: String(AT_ONCE) };
  nodes = scope.use(await Nodes.open({ plugins: python('run', RUN), env }));
  meeting = await nodes.meeting('run');
});
afterAll(() => scope.disposeAsync());

let heir: Node;
let made = 0;

type Run = { id: string; file: string };

/** A job that has been begun by now, on one of the nodes that are there. */
async function begin(node: Node, args: Record<string, unknown>): Promise<Run> {
  made += 1;
  const file = join(meeting, String(made));
  const id = await node.add('run', { file, ...args });
  await vi.waitFor(() => assert(begunAt(file).length > 0, 'it has not been begun'), { timeout: 20_000 });
  return { id, file };
}

/** When it was begun, each time. */
function begunAt(file: string): number[] {
  try {
    return readFileSync(file, 'utf8').trim().split('\n').map(Number);
  } catch {
    return [];
  }
}

/** The nodes that it was taken from by their end: nothing that a caller sees. */
async function lossesOf(id: string): Promise<number> {
  const [row] = await nodes.sql('select losses from jobs where id = $1', [id]);
  return row?.losses as number;
}

test('the jobs of a node that is killed run again on another, and those of the other are left alone', async () => {
  const [doomed, other] = await Promise.all([nodes.start(), nodes.start()]);
  heir = other;
  // As many as both have places: each has its share.
  const runs = await Promise.all(Array.from({ length: 2 * AT_ONCE }, () => begin(other, { s: 10 })));
  await doomed.signal('SIGKILL');
  const killedAt = Date.now();
  await doomed.assertNothingLeft();

  const jobs = await Promise.all(runs.map(({ id }) => other.job(id)));
  expect(jobs.map(({ state, attempt, output }) => `${state} ${attempt} ${output}`).sort()).toEqual([
    ...Array(AT_ONCE).fill('succeeded 1 fresh'),
    ...Array(AT_ONCE).fill('succeeded 2 again'),
  ]);
  for (const [at, { attempt }] of jobs.entries()) {
    const { id, file } = runs[at] as Run;
    expect([id, begunAt(file).length, await lossesOf(id)]).toEqual([id, attempt, attempt - 1]);
    if (attempt === 2) expect((begunAt(file)[1] ?? Number.NaN) - killedAt).toBeLessThan(AGAIN_MS);
  }
});

test('a node that is told to end refuses what is new, finishes what is short and hands over what is long', async () => {
  const leaving = heir;
  const [long, short] = await Promise.all([begin(leaving, { s: 60 }), begin(leaving, { s: 2 })]);
  const ended = leaving.signal('SIGTERM');
  const next = nodes.start();
  await vi.waitFor(async () => expect((await leaving.get('/readyz')).body.code).toBe('draining'));
  for (const path of ['/v1/jobs', '/v1/plugins/run/invocations']) {
    const refused = await leaving.post(path, path === '/v1/jobs' ? { plugin: 'run' } : {}, { prefer: 'respond-async' });
    expect([path, refused.status, refused.body.code]).toEqual([path, 503, 'draining']);
    expect(refused.headers.get('retry-after')).not.toBeNull();
  }
  expect(await ended).toBe(0);
  await leaving.assertNothingLeft();

  heir = await next;
  expect(await heir.job(short.id)).toMatchObject({ state: 'succeeded', attempt: 1, output: 'fresh' });
  expect(await heir.job(long.id)).toMatchObject({ state: 'succeeded', attempt: 2, output: 'again' });
  // Handed over, not found to be without a node after a while.
  expect(await lossesOf(long.id)).toBe(0);
  expect([long, short].map(({ file }) => begunAt(file).length)).toEqual([2, 1]);
});

test('a job whose nodes keep being lost is parked, with what is known of it', async () => {
  const { id, file } = await begin(heir, { s: 60, stubborn: true });
  for (let losses = 1; losses <= 3; losses += 1) {
    await heir.signal('SIGKILL');
    // As if ten seconds had gone by.
    await nodes.sql(`update isopod_queue.job set heartbeat_on = now() - interval '1 hour' where id = $1`, [id]);
    heir = await nodes.start();
    if (losses < 3) await vi.waitFor(() => assert.equal(begunAt(file).length, losses + 1), { timeout: 20_000 });
  }
  expect(await heir.job(id)).toMatchObject({ state: 'dead', parked: 'nodes_lost', problem: { code: 'executor_lost' } });
  expect(begunAt(file)).toHaveLength(3);
  expect((await heir.post(`/v1/jobs/${id}/redrive`)).status).toBe(202);
  expect(await heir.job(id, 'running')).toMatchObject({ parked: null });
  expect((await heir.post(`/v1/jobs/${id}/cancel`)).body).toMatchObject({ state: 'cancelled' });
});
