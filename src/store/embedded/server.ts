/**
 * A private PostgreSQL below the data folder: a real one, of the version that npm brings along.
 *
 * It listens on a unix socket in a folder of ours, wants a random password (SCRAM), and belongs to one process: who
 * starts it owns the data folder (owner.ts). It must not outlive us, not even when we are killed: a shell holds the
 * reading end of a pipe of ours, and ends it when that closes. It refuses to run as root, so for root it is started in
 * a user namespace, where it finds itself to be nobody and still owns our files; no user is made, nothing is chowned.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, readlink, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { type Binaries, findBinaries } from './binaries.ts';
import { own } from './owner.ts';

/** The major version is part of the path: the files of one cannot be opened by another. */
const MAJOR = '18';
const USER = 'isopod';
const PORT = 5432;
/** A unix socket's path may have so many bytes; PostgreSQL adds its own file name to the folder. */
const SOCKET_DIR_BYTES = 107 - '/.s.PGSQL.5432'.length;
const START_MS = 30_000;
const STOP_MS = 10_000;

const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '',
  unix_socket_permissions: '0700',
  max_connections: '100',
  shared_buffers: '32MB',
  max_wal_size: '256MB',
  timezone: 'UTC',
  log_timezone: 'UTC',
};

// Fixed text: all that varies are its arguments. The first is the program; standard input is our pipe.
const WATCHED = `
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
trap 'kill -INT $server' INT TERM
(while read -r _ <&3; do :; done; kill -INT $server) 2>/dev/null &
watcher=$!
wait $server; code=$?
while kill -0 $server 2>/dev/null; do wait $server; code=$?; done
kill $watcher 2>/dev/null
exit $code
`;

export class EmbeddedServer implements AsyncDisposable {
  /** For `pg`. */
  readonly connection: pg.ClientConfig;
  readonly #child: ChildProcess;
  readonly #scope: AsyncDisposableStack;

  private constructor(connection: pg.ClientConfig, child: ChildProcess, scope: AsyncDisposableStack) {
    this.connection = connection;
    this.#child = child;
    this.#scope = scope;
  }

  /** Resolves when it takes connections; makes the database on the first start. `say` is told what takes time. */
  static async start(dataDir: string, say: (what: string) => void = () => {}): Promise<EmbeddedServer> {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    await using scope = new AsyncDisposableStack();
    scope.use(await own(dataDir));
    const dir = join(dataDir, 'postgres', MAJOR);
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const binaries = await findBinaries(join(dataDir, 'postgres'));
    const prefix = await notRoot();
    const password = await create(dir, binaries, prefix, say);
    await endOrphan(join(dir, 'data'));

    const host = await socketDir(dir, scope);
    const child = launch(binaries, prefix, join(dir, 'data'), host);
    scope.defer(() => stop(child));
    const connection = { host, port: PORT, user: USER, password, database: 'postgres' };
    await ready(child, connection);
    return new EmbeddedServer(connection, child, scope.move());
  }

  /** The process that ends the server when it is signalled, for tests. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope.disposeAsync();
  }
}

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
    await promisify(execFile)(file, args, { env: environment(binaries), timeout: START_MS });
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    throw new Error(`PostgreSQL could not make its files in ${fresh}: ${stderr || (error as Error).message}`);
  }
  await rename(fresh, data);
  return password;
}

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

/** The folder is ours, so a server that still runs in it lost its owner a moment ago. */
async function endOrphan(data: string): Promise<void> {
  const pid = Number((await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')[0]);
  if (!(pid > 1)) return;
  const until = performance.now() + STOP_MS;
  while ((await readlink(`/proc/${pid}/cwd`).catch(() => '')) === data) {
    if (performance.now() > until) throw new Error(`PostgreSQL (process ${pid}) in ${data} does not end`);
    try {
      process.kill(pid, 'SIGINT');
    } catch {
      // It has just ended.
    }
    await sleep(20);
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

function launch(binaries: Binaries, prefix: readonly string[], data: string, host: string): ChildProcess {
  const settings = Object.entries({ ...SETTINGS, unix_socket_directories: host, port: String(PORT) });
  const words = [binaries.postgres, '-D', data, ...settings.flatMap(([name, value]) => ['-c', `${name}=${value}`])];
  const command = [...prefix, '/bin/sh', '-c', WATCHED, 'postgres', ...words];
  // A session of its own: a terminal's Ctrl-C is for us, and we end it last.
  return spawn(command[0] ?? '', command.slice(1), {
    stdio: ['pipe', 'ignore', 'pipe'],
    env: environment(binaries),
    cwd: '/',
    detached: true,
  });
}

async function ready(child: ChildProcess, connection: pg.ClientConfig): Promise<void> {
  let told = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    told = (told + text).slice(-4000);
  });
  child.stdin?.on('error', () => {});
  const until = performance.now() + START_MS;
  for (;;) {
    const client = new pg.Client(connection);
    client.on('error', () => {});
    try {
      await client.connect();
      await client.end();
      return;
    } catch (error) {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`PostgreSQL did not start: ${told}`);
      if (performance.now() > until) throw new Error(`PostgreSQL takes no connections: ${error}\n${told}`);
      await sleep(10);
    }
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  // Its shell ends it when the pipe closes, and that way alone it is ended when we die.
  child.stdin?.destroy();
  const patience = setTimeout(() => process.kill(-(child.pid ?? 0), 'SIGKILL'), STOP_MS);
  await ended;
  clearTimeout(patience);
}
