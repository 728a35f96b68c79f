/**
 * A private PostgreSQL below the data folder: a real one, of the version that npm brings along.
 *
 * It listens on a unix socket in a folder of ours, wants a random password (SCRAM), and belongs to one process: who
 * starts it owns the data folder (owner.ts) for as long as it lives. When the server ends and was not asked to, it is
 * started again: at once, and when that does not help, ever more slowly, and for ever.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type pg from 'pg';
import { type Binaries, findBinaries } from './binaries.ts';
import { endOrphans } from './orphans.ts';
import { own } from './owner.ts';
import { type Launch, Postmaster } from './postmaster.ts';

/** The major version is part of the path: the files of one cannot be opened by another. */
const MAJOR = '18';
const USER = 'isopod';
const PORT = 5432;
/** A unix socket's path may have so many bytes; PostgreSQL adds its own file name to the folder. */
const SOCKET_DIR_BYTES = 107 - '/.s.PGSQL.5432'.length;
const CREATE_MS = 30_000;
/** A server that ended is started at once. If that one ends too, so much time is left, and twice that the next time. */
const AGAIN_MS = 500;
const AGAIN_MS_MOST = 60_000;
/** One that has run for so long was well. */
const WELL_MS = 60_000;

const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '',
  unix_socket_permissions: '0700',
  max_connections: '100',
  shared_buffers: '32MB',
  max_wal_size: '256MB',
  timezone: 'UTC',
  log_timezone: 'UTC',
};

export type EmbeddedServerOptions = {
  dataDir: string;
  /** Told what takes time. */
  say?(what: string): void;
  /** Told that it has ended, or could not be started again, and what it said last. */
  complain?(what: string, words: string): void;
};

export class EmbeddedServer implements AsyncDisposable {
  /** For `pg`. The same for as long as it lives, whatever happens to the server. */
  readonly connection: pg.ClientConfig;
  readonly #again: () => Promise<Postmaster>;
  readonly #complain: (what: string, words: string) => void;
  readonly #closing: AbortController;
  readonly #scope: AsyncDisposableStack;
  readonly #kept: Promise<void>;
  #postmaster: Postmaster;
  #isUp = true;

  private constructor({ connection, again, complain, closing, scope, postmaster }: Inside) {
    this.connection = connection;
    this.#again = again;
    this.#complain = complain;
    this.#closing = closing;
    this.#scope = scope;
    this.#postmaster = postmaster;
    this.#kept = this.#keep();
  }

  /** Resolves when it takes connections; makes the database on the first start. */
  static async start({ dataDir, say = () => {}, complain = () => {} }: EmbeddedServerOptions): Promise<EmbeddedServer> {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    await using scope = new AsyncDisposableStack();
    scope.use(await own(dataDir));
    await mkdir(join(dataDir, 'postgres', MAJOR), { recursive: true, mode: 0o700 });
    const dir = await realpath(join(dataDir, 'postgres', MAJOR));
    const data = join(dir, 'data');
    const binaries = await findBinaries(join(dataDir, 'postgres'));
    const prefix = await notRoot();
    const password = await create(dir, binaries, prefix, say);
    const host = await socketDir(dir, scope);
    scope.defer(() => endOrphans(data, host).catch(() => {}));

    const closing = new AbortController();
    const connection = { host, port: PORT, user: USER, password, database: 'postgres' };
    const launch = { prefix, command: commandOf(binaries, data, host), env: environment(binaries) } satisfies Launch;
    const again = async () => {
      await endOrphans(data, host);
      return await Postmaster.start(launch, connection, closing.signal);
    };
    const postmaster = await again();
    return new EmbeddedServer({ connection, again, complain, closing, scope: scope.move(), postmaster });
  }

  /** Whether it runs and takes connections. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** The process that ends the server when it is signalled, for tests. */
  get pid(): number | undefined {
    return this.#postmaster.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#kept;
    await this.#postmaster[Symbol.asyncDispose]();
    await this.#scope.disposeAsync();
  }

  /** Sees to it that there is one until we close. */
  async #keep(): Promise<void> {
    const { signal } = this.#closing;
    const closed = new Promise<undefined>((resolve) => signal.addEventListener('abort', () => resolve(undefined)));
    let pauseMs = 0;
    for (;;) {
      const startedAt = performance.now();
      const words = await Promise.race([this.#postmaster.ended, closed]);
      if (words === undefined || signal.aborted) return;
      this.#isUp = false;
      this.#complain('The private PostgreSQL has ended and is started again', words);
      if (performance.now() - startedAt > WELL_MS) pauseMs = 0;
      for (;;) {
        await sleep(pauseMs, undefined, { signal }).catch(() => {});
        if (signal.aborted) return;
        pauseMs = Math.min(Math.max(AGAIN_MS, pauseMs * 2), AGAIN_MS_MOST);
        try {
          this.#postmaster = await this.#again();
          break;
        } catch (error) {
          if (signal.aborted) return;
          const soon = `The private PostgreSQL cannot be started, which is tried again in ${pauseMs / 1000} s`;
          this.#complain(soon, error instanceof Error ? error.message : String(error));
        }
      }
      this.#isUp = true;
    }
  }
}

type Inside = {
  connection: pg.ClientConfig;
  /** Starts one more. */
  again(): Promise<Postmaster>;
  complain(what: string, words: string): void;
  closing: AbortController;
  scope: AsyncDisposableStack;
  postmaster: Postmaster;
};

/** Makes the database files where there are none; an attempt that was broken off leaves nothing that counts. */
async function create(dir: string, binaries: Binaries, prefix: readonly string[], say: (what: string) => void) {
  const passwordFile = join(dir, 'password');
  const data = join(dir, 'data');
  const known = await readFile(passwordFile, 'utf8').catch(() => '');
  const exists = await readFile(join(data, 'PG_VERSION'), 'utf8').catch(() => '');
  if (exists !== '' && known !== '') return known;

  say('making a database in the data folder');
  const password = randomBytes(24).toString('base64url');
  const fresh = join(dir, 'data.new');
  await rm(fresh, { recursive: true, force: true });
  await writeFile(passwordFile, password, { mode: 0o600 });
  const words = ['-D', fresh, '-U', USER, '-A', 'scram-sha-256', `--pwfile=${passwordFile}`];
  const [file = '', ...args] = [...prefix, binaries.initdb, ...words, '-E', 'UTF8', '--no-locale', '--no-instructions'];
  try {
    await promisify(execFile)(file, args, { env: environment(binaries), timeout: CREATE_MS });
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    const words = `PostgreSQL could not make its files in ${fresh}: ${stderr || (error as Error).message}`;
    throw new Error(NAMELESS.test(words) ? `${words.trim()}\n${HELP_FOR_NAMELESS}` : words);
  }
  await rename(fresh, data);
  return password;
}

/** Its user is in no list that the system knows. */
const NAMELESS = /could not look up effective user ID/;
const HELP_FOR_NAMELESS =
  'Start isopod as a user that /etc/passwd has, or let DATABASE_URL name a PostgreSQL that is there already';

/** What stands before each of its commands so that it does not run as root. */
async function notRoot(): Promise<string[]> {
  if (process.getuid?.() !== 0) return [];
  const prefix = ['unshare', '--user', '--'];
  try {
    await promisify(execFile)('unshare', ['--user', '--', 'true']);
    return prefix;
  } catch {
    throw new Error(
      'PostgreSQL does not run as root, and this machine lets us make no user namespace: start isopod as another ' +
        'user, or set DATABASE_URL',
    );
  }
}

async function socketDir(dir: string, scope: AsyncDisposableStack): Promise<string> {
  const near = join(dir, 'socket');
  if (Buffer.byteLength(near) <= SOCKET_DIR_BYTES) {
    await mkdir(near, { recursive: true, mode: 0o700 });
    return near;
  }
  const far = await mkdtemp(join(tmpdir(), 'isopod-pg-'));
  scope.defer(() => rm(far, { recursive: true, force: true }));
  return far;
}

function environment(binaries: Binaries): Record<string, string> {
  return { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', ...binaries.env };
}

function commandOf(binaries: Binaries, data: string, host: string): string[] {
  const settings = Object.entries({ ...SETTINGS, unix_socket_directories: host, port: String(PORT) });
  return [binaries.postgres, '-D', data, ...settings.flatMap(([name, value]) => ['-c', `${name}=${value}`])];
}
