/**
 * Nodes as they are in production: processes of the command line's `serve`, on one database and over the same plugins,
 * each with a data folder of its own. What is done to one of them (a signal, a SIGKILL) is done for real.
 */
import { strict as assert } from 'node:assert';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { vi } from 'vitest';
import { hasEnded, type JobState } from '../../src/core/job.ts';
import { type Answer, ask } from './client.ts';
import { testDatabase } from './databases.ts';
import { writePlugin } from './service.ts';

const CLI = fileURLToPath(new URL('../../src/isopod.js', import.meta.url));
const START_MS = 20_000;
const STOP_MS = 20_000;
const JOB_MS = 25_000;
/** Lines of a node's own words that are kept, for messages. */
const LINES_KEPT = 200;

export type Plugins = Record<string, Record<string, string>>;

export type NodesOptions = {
  plugins: Plugins;
  /** Settings of all nodes, as variables of the environment. */
  env?: Record<string, string>;
  /** Another database than one that the tests share. */
  databaseUrl?: string;
};

/** An embedded plugin. */
export function js(id: string, code: string): Plugins {
  return { [id]: { [`${id}.yml`]: `name: ${id}\ninterface: js\nexec: [${id}.js]\n`, [`${id}.js`]: code } };
}

/** A Python plugin: `args` are those it was called with, and it answers what is in `output`. */
export function python(id: string, code: string): Plugins {
  const file = `import json, os, sys, time\nargs = json.load(sys.stdin)["args"]\noutput = None\n${code}\nprint(json.dumps({"output": output}))\n`;
  return {
    [id]: {
      [`${id}.yml`]: `name: ${id}\ninterface: raw\nexec: [python3, "{pluginDir}/${id}.py"]\n`,
      [`${id}.py`]: file,
    },
  };
}

/** All nodes of one test. Leaving the scope ends those that are left, and asserts that nothing of them stays. */
export class Nodes implements AsyncDisposable {
  readonly folder: string;
  readonly databaseUrl: string;
  readonly #env: Record<string, string>;
  readonly #scope: AsyncDisposableStack;
  readonly #all = new Set<Node>();
  readonly #meetings: { plugin: string; folder: string }[] = [];

  private constructor(folder: string, databaseUrl: string, env: Record<string, string>, scope: AsyncDisposableStack) {
    this.folder = folder;
    this.databaseUrl = databaseUrl;
    this.#env = env;
    this.#scope = scope;
  }

  static async open({ plugins, env = {}, databaseUrl }: NodesOptions): Promise<Nodes> {
    await using scope = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), 'isopod-nodes-'));
    await chmod(folder, 0o755);
    scope.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));
    for (const [id, files] of Object.entries(plugins)) await writePlugin(join(folder, 'plugins/stash', id), files);
    const url = databaseUrl ?? scope.use(await testDatabase()).url;
    return new Nodes(folder, url, env, scope.move());
  }

  /** A folder that is granted to a plugin when a node starts: in it a test and the programs meet. */
  async meeting(plugin: string): Promise<string> {
    const folder = join(this.folder, `meeting-${plugin}`);
    await mkdir(folder);
    await chmod(folder, 0o777);
    this.#meetings.push({ plugin, folder });
    return folder;
  }

  /** Resolves when it takes requests. `env`: settings of this one. */
  async start(env: Record<string, string> = {}): Promise<Node> {
    const node = new Node(this.folder, {
      ISOPOD_DATA_DIR: join(this.folder, `data-${this.#all.size}`),
      ISOPOD_PLUGINS_DIR: join(this.folder, 'plugins'),
      ISOPOD_LOG_LEVEL: 'warn',
      ISOPOD_ISOLATION_CHECK: 'demand',
      DATABASE_URL: this.databaseUrl,
      ...this.#env,
      ...env,
    });
    this.#all.add(node);
    await node.ready();
    for (const { plugin, folder } of this.#meetings.splice(0)) {
      const granted = await node.put(`/v1/plugins/${plugin}/permissions`, { files: [{ path: folder, mode: 'rw' }] });
      assert.equal(granted.status, 200, JSON.stringify(granted.body));
    }
    return node;
  }

  /** A statement in their database, for what no request can do. */
  async sql(text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    const client = new pg.Client({ connectionString: this.databaseUrl, options: '-c search_path=isopod' });
    await client.connect();
    return await client
      .query(text, values)
      .then(({ rows }) => rows)
      .finally(() => client.end());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#all].map((node) => node.signal('SIGTERM')));
    await this.#scope.disposeAsync();
    await Promise.all([...this.#all].map((node) => node.assertNothingLeft()));
  }
}

/** One node, and a client for it. */
export class Node {
  url = '';
  readonly #child: ChildProcess;
  readonly #exit: Promise<number | NodeJS.Signals>;
  readonly #lines: string[] = [];
  /** What it had started when it was last looked at. */
  #below: Process[] = [];

  constructor(cwd: string, env: Record<string, string>) {
    // Should whoever runs the test be killed, the kernel ends the node with it.
    const leash = process.platform === 'linux' ? ['setpriv', '--pdeathsig', 'KILL', '--'] : [];
    const [file = '', ...args] = [...leash, process.execPath, CLI, 'serve'];
    const { ISOPOD_PORT = '0', ...rest } = env;
    this.#child = spawn(file, args, {
      cwd,
      env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? cwd, ISOPOD_PORT, ...rest },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#exit = once(this.#child, 'close').then(([code, signal]) => code ?? signal);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (stream !== null) createInterface(stream).on('line', (line) => this.#hear(line));
    }
  }

  get pid(): number {
    return this.#child.pid ?? assert.fail('it has not been started');
  }

  get isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** What it has said last. */
  get words(): string {
    return this.#lines.join('\n');
  }

  /** The programs that it has started, and what those have. */
  below(): Process[] {
    if (this.isAlive) this.#below = below(this.pid);
    return this.#below;
  }

  async ready(): Promise<void> {
    const heard = vi.waitFor(() => assert(this.url !== '', `it is not ready: ${this.words}`), { timeout: START_MS });
    const ended = this.#exit.then((code) => assert.fail(`it has ended with ${code}: ${this.words}`));
    ended.catch(() => {});
    await Promise.race([heard, ended]);
  }

  /** Resolves with its exit code, or the signal that ended it, when it has ended. */
  async signal(signal: NodeJS.Signals): Promise<number | NodeJS.Signals> {
    this.below();
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    return await this.#exit.finally(() => clearTimeout(timer));
  }

  /** After its end: everything that it had started has ended too. */
  async assertNothingLeft(): Promise<void> {
    await vi.waitFor(() => assert.deepEqual(this.#below.filter(isThere), []), { timeout: 5_000 });
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    return ask(this.url + path, { headers });
  }

  post(path: string, body: unknown = {}, headers: Record<string, string> = {}): Promise<Answer> {
    return this.#send('POST', path, body, headers);
  }

  put(path: string, body: unknown): Promise<Answer> {
    return this.#send('PUT', path, body, {});
  }

  /** Has a job run later. Gives its id. */
  async add(plugin: string, args: Record<string, unknown> = {}, more: Record<string, unknown> = {}): Promise<string> {
    const { status, body, text } = await this.post('/v1/jobs', { plugin, args, ...more });
    assert.equal(status, 202, text);
    return body.id;
  }

  /** The job once it is in one of these states; by default, once it has ended. */
  async job(id: string, ...states: JobState[]): Promise<Answer['body']> {
    return await vi.waitFor(
      async () => {
        const { body } = await this.get(`/v1/jobs/${id}`);
        assert(states.length === 0 ? hasEnded(body) : states.includes(body.state), `the job is ${body.state}`);
        return body;
      },
      { timeout: JOB_MS, interval: 50 },
    );
  }

  #send(method: string, path: string, body: unknown, headers: Record<string, string>): Promise<Answer> {
    const type = { 'content-type': 'application/json' };
    return ask(this.url + path, { method, body: JSON.stringify(body), headers: { ...type, ...headers } });
  }

  #hear(line: string): void {
    this.url ||= /^isopod is ready at (.*)$/.exec(line)?.[1] ?? '';
    this.#lines.push(line);
    if (this.#lines.length > LINES_KEPT) this.#lines.shift();
  }
}

/** A process among all that ever had this number. */
export type Process = { pid: number; startedAt: string; command: string };

/** Everything that descends from a process now. */
export function below(pid: number): Process[] {
  const children = new Map<number, (Process & { parent: number })[]>();
  for (const name of readdirSync('/proc')) {
    const one = /^\d+$/.test(name) ? look(Number(name)) : undefined;
    if (one !== undefined) children.set(one.parent, [...(children.get(one.parent) ?? []), one]);
  }
  const found: Process[] = [];
  const next = [pid];
  for (let parent = next.pop(); parent !== undefined; parent = next.pop()) {
    for (const { parent: _, ...one } of children.get(parent) ?? []) {
      found.push(one);
      next.push(one.pid);
    }
  }
  return found;
}

export function isThere({ pid, startedAt }: Process): boolean {
  return look(pid)?.startedAt === startedAt;
}

/** Undefined for one that is gone, or only waits for its parent to notice. */
function look(pid: number): (Process & { parent: number }) | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Its name comes second and may have anything in it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') return undefined;
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    return { pid, parent: Number(fields[1]), startedAt: fields[19] ?? '', command };
  } catch {
    return undefined;
  }
}
