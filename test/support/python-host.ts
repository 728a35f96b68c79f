/** The host of Python plugins by itself, spoken to in frames. */
import { strict as assert } from 'node:assert';
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, delimiter, dirname, join, resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { FromGuest, ToGuest } from '../../runtimes/python/frames.ts';
import { HEARD } from '../../runtimes/python/heard.ts';
import type { Action } from '../../src/core/portrait.ts';
import { FrameReader } from '../../src/programs/frame-reader.ts';

export const HOST = resolve(import.meta.dirname, '../../runtimes/python/guest/host.py');
const VERSIONS = ['3.9', '3.10', '3.11', '3.12', '3.13'];
const PLUGINS = resolve(import.meta.dirname, '../fixtures/python');

/** One of each version that host.py is for, by what it says of itself. */
export const PYTHONS: ReadonlyMap<string, string> = (() => {
  const folders = ['/usr/bin', '/usr/local/bin', ...(process.env.PATH ?? '').split(delimiter)];
  const places = [...folders, ...globSync(join(homedir(), '.pyenv/versions/3.*/bin'))];
  const files = places.flatMap((place) =>
    ['python3', ...VERSIONS.map((one) => `python${one}`)].map((f) => join(place, f)),
  );
  const found = new Map<string, string>();
  for (const file of new Set(files)) {
    if (!existsSync(file)) continue;
    const version = said(file, 'import sys; print("%d.%d" % sys.version_info[:2])');
    if (VERSIONS.includes(version) && !found.has(version)) found.set(version, file);
  }
  return found;
})();

/** The one that has Django, if any does. */
export const PYTHON_WITH_DJANGO = [...PYTHONS.values()].find((file) => said(file, 'import django; print(1)') === '1');

function said(file: string, code: string): string {
  try {
    return execFileSync(file, ['-c', code], { stdio: ['ignore', 'pipe', 'ignore'], encoding: 'utf8' }).trim();
  } catch {
    return '';
  }
}

type Of<Kind extends FromGuest['t']> = Extract<FromGuest, { t: Kind }>;
// biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came back
type Result = { output: any; error: any; listens: boolean; cpuMs: number };

export type HostOptions = {
  python?: string | undefined;
  shim?: 'on' | 'off';
  settingsModule?: string;
  environment?: Record<string, string>;
  /** What the application answers that is asked for something. */
  answer?: (ask: Of<'ask'>) => { ok: unknown } | { error: string };
};

/** One host with one plugin. */
export class PythonHost implements AsyncDisposable {
  readonly frames: FromGuest[] = [];
  /** What came where nobody writes frames. */
  stray = '';
  readonly exited: Promise<number | string>;
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #waiting = new Set<() => void>();
  #next = 1;

  constructor(plugin: string, { python, shim = 'on', settingsModule, environment, answer }: HostOptions = {}) {
    const file = python ?? [...PYTHONS.values()][0];
    assert(file !== undefined, 'no Python that host.py is for was found');
    const env = { PATH: process.env.PATH ?? '', PYTHONDONTWRITEBYTECODE: '1', ...environment };
    this.#child = spawn(file, [HOST], { stdio: ['pipe', 'pipe', 'pipe'], env, cwd: '/', detached: true });
    this.exited = once(this.#child, 'close').then(([code, signal]) => signal ?? code);
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stray += text;
      this.#moved();
    });
    this.#child.stdin.on('error', () => {});
    const reader = new FrameReader(HEARD, () => LONGEST, {
      onRead: () => {},
      onFrame: (frame) => {
        this.frames.push(frame as FromGuest);
        if (frame.t === 'ask' && answer !== undefined) {
          this.send({ t: 'answer', id: frame.id, ...answer(frame as Of<'ask'>) });
        }
        this.#moved();
      },
      onViolation: (what) => {
        this.stray += `VIOLATION: ${what}`;
        this.#child.kill('SIGKILL');
      },
    });
    this.#child.stdout.on('data', (chunk: Buffer) => reader.push(chunk));
    const dir = join(PLUGINS, plugin);
    const key = basename(dir).replaceAll('-', '_').toLowerCase();
    const django = settingsModule === undefined ? null : { settingsModule };
    this.send({ t: 'boot', key, dir, pluginsDir: dirname(dir), shim, version: '0.31.0', django });
  }

  /** One whose plugin is loaded. */
  static async ready(plugin: string, options: HostOptions = {}): Promise<PythonHost> {
    const host = new PythonHost(plugin, options);
    const first = await host.until((frame) => frame.t === 'ready' || frame.t === 'failed');
    assert.equal(first.t, 'ready', JSON.stringify(first));
    return host;
  }

  /** Why the plugin cannot be loaded. The process has ended. */
  static async failing(plugin: string, options: HostOptions = {}): Promise<Of<'failed'>['error'] & { stray: string }> {
    await using host = new PythonHost(plugin, options);
    const { error } = (await host.until(({ t }) => t === 'failed')) as Of<'failed'>;
    assert.equal(await host.exited, 1);
    return { ...error, stray: host.stray };
  }

  send(frame: ToGuest | string): void {
    this.#child.stdin.write(typeof frame === 'string' ? frame : `${JSON.stringify(frame)}\n`);
  }

  /** Starts a run; the result is another thing. */
  begin(action: string, { params = {}, outputBytes = 1_000_000 }: { params?: unknown; outputBytes?: number } = {}) {
    const id = this.#next++;
    this.send({ t: 'run', id, action, params, settings: { a: 1 }, actions: ACTIONS, outputBytes });
    return id;
  }

  async result(id: number): Promise<Result> {
    const result = await this.until((frame) => frame.t === 'result' && frame.id === id);
    const { output } = result as { output?: string };
    const read = output === undefined ? undefined : JSON.parse(output);
    return { error: undefined, ...result, output: read } as unknown as Result;
  }

  async run(action: string, options: { params?: unknown; outputBytes?: number } = {}): Promise<Result> {
    return await this.result(this.begin(action, options));
  }

  async task(name: string, args: unknown[], kwargs: Record<string, unknown> = {}): Promise<Result> {
    const id = this.#next++;
    this.send({ t: 'task', id, name, args, kwargs, outputBytes: 1_000 });
    return await this.result(id);
  }

  async look(): Promise<{ threads: number; children: number }> {
    const id = this.#next++;
    this.send({ t: 'look', id });
    const { threads, children } = (await this.until((frame) => frame.t === 'look' && frame.id === id)) as Of<'look'>;
    return { threads, children };
  }

  /** Stops it; it has ended by itself. */
  async stop(actions: Record<string, Action> = ACTIONS): Promise<Of<'stopped'>> {
    this.send({ t: 'stop', reason: 'reload', settings: { a: 1 }, actions });
    const stopped = (await this.until(({ t }) => t === 'stopped')) as Of<'stopped'>;
    assert.equal(await this.exited, 0);
    return stopped;
  }

  /** What was logged, as `run level text`. */
  get log(): string[] {
    const lines = this.frames.filter((frame): frame is Of<'log'> => frame.t === 'log');
    return lines.map(({ run, level, text }) => `${run} ${level} ${text}`);
  }

  async until(wanted: (frame: FromGuest) => boolean): Promise<FromGuest> {
    let found: FromGuest | undefined;
    await this.met(() => {
      found = this.frames.find(wanted);
      return found !== undefined;
    });
    return found as FromGuest;
  }

  /** Resolves once it is so. */
  async met(condition: () => boolean): Promise<void> {
    let over = false;
    const exited = this.exited.then(() => {
      over = true;
    });
    while (!condition()) {
      assert(!over, `it has ended: ${this.stray}${this.log.join('\n')}`);
      const { promise, resolve: moved } = Promise.withResolvers<void>();
      this.#waiting.add(moved);
      await Promise.race([promise, exited]);
      this.#waiting.delete(moved);
    }
  }

  /** The end of whoever it belongs to. */
  hangUp(): void {
    this.#child.stdin.end();
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  #moved(): void {
    for (const moved of this.#waiting) moved();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { pid = 0, exitCode, signalCode } = this.#child;
    // With the children of its plugin, which are of its group.
    if (exitCode === null && signalCode === null) process.kill(-pid, 'SIGKILL');
    await this.exited;
  }
}

const ACTIONS = { go: { id: 'go', label: 'Go' } };
const LONGEST = 1 << 20;
