import { type ChildProcess, spawn } from 'node:child_process';
import { hash, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { chmod, copyFile, mkdir, mkdtemp, readlink, rm, writeFile } from 'node:fs/promises';
import { createServer, type ListenOptions } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exists } from './witness.ts';

export type CanaryOptions = {
  /** Folder with the service's data, where there is one: a tenant's neighbour lives in it. */
  dataDir: string | undefined;
  /** Further files that no program has any business with, e.g. the configuration. */
  secrets: readonly string[];
};

const PROBES = [
  'room.py',
  'forks.py',
  'memory.py',
  'room.mjs',
  'forks.mjs',
  'memory.mjs',
  'hoard.js',
  'permissions.mjs',
] as const;
export type ProbeName = (typeof PROBES)[number];

/** Folders of the system; to have them writable is to have a foot in the door of everybody else. */
const SYSTEM = ['/', '/etc', '/usr', '/usr/bin', '/usr/local/bin', '/lib', '/opt', '/var', '/dev', '/proc/sys/kernel'];
/** Files, since a folder may be there with nothing in it but what a program is to find below it. */
const SECRETS = ['/etc/shadow'];

/**
 * What is laid out for one look: files, sockets and a process that a program in its room has no business to reach, made
 * for the occasion and gone after it, so that trying harms nobody. What was reached is said here, by whoever was.
 */
export class Canaries implements AsyncDisposable {
  readonly id = randomBytes(9).toString('hex');
  /** What the probe's process is called while it is looked at from outside. */
  readonly shown = `probe-${this.id.slice(0, 9)}`;
  readonly folder: string;
  readonly reached = { tcp: false, tcp6: false, udp: false, unix: false, abstract: false, signal: false };
  readonly #options: CanaryOptions;
  readonly #scope = new AsyncDisposableStack();
  readonly #plants: string[] = [];
  readonly #mark = randomBytes(12).toString('hex');
  readonly #secret = randomBytes(24).toString('hex');
  #ports = { tcp4: 0, tcp6: 0, udp4: 0 };
  #pid = 0;

  private constructor(folder: string, options: CanaryOptions) {
    this.folder = folder;
    this.#options = options;
  }

  static async lay(options: CanaryOptions): Promise<Canaries> {
    const canaries = new Canaries(await mkdtemp(join(tmpdir(), 'isopod-attestation-')), options);
    try {
      await canaries.#lay();
      return canaries;
    } catch (error) {
      await canaries[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The path of a probe, in a folder that is its own. */
  probe(name: ProbeName): string {
    return join(this.folder, 'own', name);
  }

  /** What the probe of the room is told. The marks are in pieces, or it would find itself. */
  async task(): Promise<string> {
    const { id, shown, folder } = this;
    return JSON.stringify({
      id,
      shown,
      canary: { pid: this.#pid, mark: [this.#mark.slice(0, 12), this.#mark.slice(12)] },
      service: process.pid,
      pidNamespace: await readlink('/proc/self/ns/pid').catch(() => ''),
      secretHash: hash('sha256', this.#secret),
      reads: [...SECRETS, ...this.#options.secrets, ...this.#plants.map((one) => join(one, 'secret'))],
      plants: this.#plants,
      writes: SYSTEM,
      ...this.#ports,
      unix: join(folder, 'socket'),
      abstract: `isopod-${id}`,
    });
  }

  /** Canaries' folders in which the probe has left something. */
  async planted(): Promise<string[]> {
    const found: string[] = [];
    for (const folder of this.#plants) if (await exists(join(folder, this.id))) found.push(folder);
    return found;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#scope.disposeAsync();
  }

  async #lay(): Promise<void> {
    this.#scope.defer(() => rm(this.folder, { recursive: true, force: true }));
    await this.#files();
    this.#environment();
    await this.#sockets();
    await this.#process();
  }

  async #files(): Promise<void> {
    // Whatever user a program is: what keeps it out is to be its room.
    await chmod(this.folder, 0o755);
    await mkdir(join(this.folder, 'own'));
    for (const name of PROBES) {
      await copyFile(new URL(`./probes/${name}`, import.meta.url), this.probe(name));
      await chmod(this.probe(name), 0o755);
    }
    await this.#plant(join(this.folder, 'other'));
    const { dataDir } = this.#options;
    if (dataDir !== undefined && (await exists(dataDir))) {
      const beside = join(dataDir, `attestation-${this.id}`);
      await this.#plant(beside);
      this.#scope.defer(() => rm(beside, { recursive: true, force: true }));
    }
  }

  async #plant(folder: string): Promise<void> {
    await mkdir(folder, { mode: 0o777 });
    await chmod(folder, 0o777);
    await writeFile(join(folder, 'secret'), this.#secret, { mode: 0o644 });
    this.#plants.push(folder);
  }

  // Another program that starts meanwhile gets no more to see of it than this one does.
  #environment(): void {
    const name = `ATTESTATION_${this.id}`;
    process.env[name] = this.#secret;
    this.#scope.defer(() => void delete process.env[name]);
  }

  async #sockets(): Promise<void> {
    const { reached, folder, id } = this;
    const path = join(folder, 'socket');
    await this.#listen({ path }, () => (reached.unix = true));
    await chmod(path, 0o777);
    if (process.platform === 'linux') await this.#listen({ path: `\0isopod-${id}` }, () => (reached.abstract = true));
    const tcp4 = await this.#listen({ host: '127.0.0.1', port: 0 }, () => (reached.tcp = true));
    // There are machines without.
    const tcp6 = await this.#listen({ host: '::1', port: 0 }, () => (reached.tcp6 = true)).catch(() => 0);
    const udp = createSocket('udp4', () => (reached.udp = true));
    this.#scope.defer(() => void udp.close());
    udp.bind(0, '127.0.0.1');
    await once(udp, 'listening');
    this.#ports = { tcp4, tcp6, udp4: udp.address().port };
  }

  async #listen(at: ListenOptions, onReached: () => void): Promise<number> {
    const server = createServer((socket) => {
      onReached();
      socket.on('error', () => {}).destroy();
    });
    server.listen(at);
    await once(server, 'listening');
    this.#scope.defer(() => void server.close());
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** It stands for the service: of the same user, and with nothing between them. It ends when its input does. */
  async #process(): Promise<void> {
    const child: ChildProcess = spawn('/bin/sh', ['-c', 'echo; read -r _', `canary-${this.#mark}`], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { CANARY: this.#mark },
      cwd: '/',
    });
    this.#scope.defer(() => void child.kill('SIGKILL'));
    child.once('exit', () => (this.reached.signal = true));
    await Promise.race([once(child.stdout as NodeJS.ReadableStream, 'data'), once(child, 'error')]);
    this.#pid = child.pid ?? 0;
  }
}
