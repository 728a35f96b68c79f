/** The host of Node plugins by itself, unconfined: spoken to in frames, and called as its front end does. */
import { strict as assert } from 'node:assert';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { Agent, type Dispatcher, type FormData, request } from 'undici';
import { userDirectories } from '../../runtimes/node/directories.ts';
import { type FromGuest, type GuestUser, HEADERS, type ToGuest } from '../../runtimes/node/frames.ts';
import { type Shelf, shelfIn } from '../../runtimes/node/modules.ts';
import { permissionFlags } from '../../runtimes/node/permissions.ts';

const PLUGINS = resolve(import.meta.dirname, '../fixtures/node');
/** Another version of Node to try all of it with, by hand. */
const NODE = process.env.TEST_NODE ?? process.execPath;
const VERSION = process.env.TEST_NODE_VERSION ?? process.version;

type Of<Kind extends FromGuest['t']> = Extract<FromGuest, { t: Kind }>;
export type Call = {
  method?: Dispatcher.HttpMethod;
  headers?: Record<string, string>;
  body?: string | Buffer | Readable | FormData;
  user?: GuestUser;
  id?: string;
};
export type Reply = { status: number; headers: Record<string, string | string[] | undefined>; text: string };

/** A folder for all hosts of a file, with what they share. */
export class NodeHosts implements AsyncDisposable {
  readonly folder: string;
  readonly #shelf: Shelf;
  #next = 0;

  private constructor(folder: string, shelf: Shelf) {
    this.folder = folder;
    this.#shelf = shelf;
  }

  static async open(): Promise<NodeHosts> {
    const folder = mkdtempSync(join(tmpdir(), 'isopod-node-hosts-'));
    return new NodeHosts(folder, await shelfIn(folder));
  }

  /** Starts a plugin of the fixtures; `ready` and `failing` wait for it. */
  async start(plugin: string, { bodyBytes = 1_000_000 }: { bodyBytes?: number } = {}): Promise<NodeHost> {
    const root = join(this.folder, `root-${this.#next++}`);
    for (const name of ['plugins', 'data/_uploads/of-another-time']) {
      mkdirSync(join(root, name), { recursive: true });
    }
    writeFileSync(join(root, 'data/no-user'), '');
    for (const name of ['package.json', 'src', 'node_modules']) {
      symlinkSync(join(this.#shelf.root, name), join(root, name));
    }
    cpSync(join(this.#shelf.root, 'plugins/package.json'), join(root, 'plugins/package.json'));
    const file = join(root, 'plugins', basename(plugin));
    cpSync(join(PLUGINS, plugin), file, { recursive: true });
    return await NodeHost.start(this.#shelf, { root, file, bodyBytes });
  }

  async ready(plugin: string, options: { bodyBytes?: number } = {}): Promise<NodeHost> {
    const host = await this.start(plugin, options);
    const first = await host.until(({ t }) => t === 'ready' || t === 'failed');
    assert.equal(first.t, 'ready', JSON.stringify(first) + host.log);
    return host;
  }

  /** Why the plugin cannot be loaded. The process has ended. */
  async failing(plugin: string): Promise<Of<'failed'>['error']> {
    await using host = await this.start(plugin);
    const { error } = (await host.until(({ t }) => t === 'failed')) as Of<'failed'>;
    assert.equal(await host.exited, 1);
    return error;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class NodeHost implements AsyncDisposable {
  readonly frames: FromGuest[] = [];
  readonly exited: Promise<number | string>;
  readonly root: string;
  readonly pid: number;
  /** What the plugin has written, to either. */
  log = '';
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;
  readonly #server: Server;
  readonly #wire: Socket;
  readonly #agent: Agent;
  readonly #dialling: ((socket: Socket) => void)[] = [];
  readonly #waiting = new Set<() => void>();

  private constructor(
    child: ChildProcessByStdio<null, Readable, Readable>,
    server: Server,
    wire: Socket,
    root: string,
  ) {
    this.root = root;
    this.pid = child.pid ?? 0;
    this.#child = child;
    this.#server = server;
    this.#wire = wire;
    this.#agent = new Agent({
      connect: (_options, done) => {
        this.send({ t: 'dial' });
        this.#dialling.push((socket) => done(null, socket));
      },
    });
    server.on('connection', (socket) => this.#dialling.shift()?.(socket));
    this.exited = once(child, 'close').then(([code, signal]) => signal ?? code);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.log += text;
        this.#moved();
      });
    }
    let rest = '';
    wire.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.frames.push(JSON.parse(line));
      this.#moved();
    });
    wire.on('error', () => {});
    void this.exited.then(() => this.#moved());
  }

  static async start(
    shelf: Shelf,
    { root, file, bodyBytes }: { root: string; file: string; bodyBytes: number },
  ): Promise<NodeHost> {
    const wirePath = join(root, 'wire.sock');
    const server = createServer().listen(wirePath);
    await once(server, 'listening');
    const scratch = join(root, 'tmp');
    mkdirSync(scratch);
    const data = join(root, 'data');
    const reach = {
      root,
      writable: [data, file, scratch],
      readable: [join(shelf.host, '..', '..')],
      sockets: [wirePath],
    };
    const environment = { ISOPOD_WIRE: wirePath, TMPDIR: scratch, NODE_ENV: 'production' };
    const child = spawn(NODE, [...permissionFlags(reach, VERSION), shelf.host], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env.PATH ?? '', ...environment },
      cwd: '/',
    });
    const [wire] = (await once(server, 'connection')) as [Socket];
    const host = new NodeHost(child, server, wire, root);
    const kind = /\.[cm]?js$/.test(file) ? 'file' : 'folder';
    const user = userOf(data, 'default-user');
    const modules = join(root, 'node_modules');
    host.send({ t: 'boot', root, file, kind, dataRoot: data, user, bodyBytes, modules, url: 'http://127.0.0.1:8000/' });
    return host;
  }

  get ready(): Of<'ready'> {
    return this.frames.find(({ t }) => t === 'ready') as Of<'ready'>;
  }

  get faults(): Of<'fault'>[] {
    return this.frames.filter((frame) => frame.t === 'fault');
  }

  send(frame: ToGuest): void {
    this.#wire.write(`${JSON.stringify(frame)}\n`);
  }

  hangUp(): void {
    this.#wire.destroy();
  }

  /** A request as the front end sends it; `path` is below the plugin's own. */
  async open(path: string, { method = 'GET', headers = {}, body, user, id = '' }: Call = {}) {
    const ours = {
      ...(user === undefined ? {} : { [HEADERS.user]: Buffer.from(JSON.stringify(user)).toString('base64url') }),
      ...(id === '' ? {} : { [HEADERS.request]: id }),
    };
    return await request(`http://localhost/api/plugins/${this.ready.info.id}${path}`, {
      dispatcher: this.#agent,
      method,
      headers: { ...headers, ...ours },
      body: body ?? null,
      bodyTimeout: 20_000,
    });
  }

  async call(path: string, call: Call = {}): Promise<Reply> {
    const { statusCode, headers, body } = await this.open(path, call);
    return { status: statusCode, headers, text: await body.text() };
  }

  // biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came back
  async json(path: string, call: Call = {}): Promise<any> {
    const { status, text } = await this.call(path, call);
    assert.equal(status, 200, text);
    return JSON.parse(text);
  }

  async look(): Promise<{ handles: number; children: number }> {
    const id = this.frames.length;
    this.send({ t: 'look', id });
    const { handles, children } = (await this.until((one) => one.t === 'look' && one.id === id)) as Of<'look'>;
    return { handles, children };
  }

  /** Stops it; it has ended by itself. */
  async stop(): Promise<Of<'stopped'>> {
    this.send({ t: 'stop', reason: 'disable' });
    const stopped = (await this.until(({ t }) => t === 'stopped')) as Of<'stopped'>;
    assert.equal(await this.exited, 0);
    return stopped;
  }

  async until(is: (frame: FromGuest) => boolean): Promise<FromGuest> {
    await this.met(() => this.frames.some(is));
    return this.frames.find(is) as FromGuest;
  }

  async met(condition: () => boolean): Promise<void> {
    while (!condition()) {
      const { exitCode, signalCode } = this.#child;
      if (exitCode !== null || signalCode !== null) {
        await this.exited;
        if (condition()) return;
        throw new Error(`The host has ended with ${exitCode ?? signalCode}: ${this.log}`);
      }
      await new Promise<void>((moved) => this.#waiting.add(moved));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.exited;
    await this.#agent.destroy();
    this.#wire.destroy();
    this.#server.close();
  }

  #moved(): void {
    for (const moved of this.#waiting) moved();
    this.#waiting.clear();
  }
}

export function userOf(dataRoot: string, handle: string, admin = false): GuestUser {
  return { profile: { handle, name: handle, admin }, directories: userDirectories(dataRoot, handle) };
}
