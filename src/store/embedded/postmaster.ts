/**
 * One run of PostgreSQL, from its start to its end, however it ends.
 *
 * It must not outlive us, not even when we are killed: a shell holds the reading end of a pipe of ours, and ends it when
 * that closes. It refuses to run as root, so for root it is started in a user namespace, where it finds itself to be
 * nobody and still owns our files; no user is made, nothing is chowned.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

/** How long it may say nothing at all, and how long it may say that it is mending its files. */
const SILENT_MS = 30_000;
const MENDING_MS = 15 * 60_000;
const STOP_MS = 10_000;
/** What it has written last may come a moment after its end; what it leaves behind may hold the pipe for longer. */
const LAST_WORDS_MS = 200;
const LAST_WORDS = 4_000;
/** What a server answers while it starts. */
const CANNOT_CONNECT_NOW = '57P03';

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

export type Launch = {
  /** What stands before the command so that it does not run as root. */
  prefix: readonly string[];
  /** PostgreSQL and its arguments. */
  command: readonly string[];
  env: Readonly<Record<string, string>>;
};

export class Postmaster implements AsyncDisposable {
  /** Resolves when it has ended, with how, in words: its own last ones are among them. Never rejects. */
  readonly ended: Promise<string>;
  readonly #child: ChildProcess;
  #lastWords = '';
  #failed: Error | undefined;

  private constructor({ prefix, command, env }: Launch) {
    const [file = '', ...args] = [...prefix, '/bin/sh', '-c', WATCHED, 'postgres', ...command];
    // A session of its own: a terminal's Ctrl-C is for us, and we end it last.
    this.#child = spawn(file, args, { stdio: ['pipe', 'ignore', 'pipe'], env, cwd: '/', detached: true });
    this.#child.on('error', () => {});
    this.#child.stdin?.on('error', () => {});
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#lastWords = (this.#lastWords + text).slice(-LAST_WORDS);
    });
    this.ended = this.#end();
  }

  /** Resolves when it takes connections. Rejects with an Error for the operator, or with the signal's reason. */
  static async start(launch: Launch, connection: pg.ClientConfig, signal: AbortSignal): Promise<Postmaster> {
    signal.throwIfAborted();
    await using scope = new AsyncDisposableStack();
    const postmaster = scope.use(new Postmaster(launch));
    await postmaster.#ready(connection, signal);
    scope.move();
    return postmaster;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOver) return;
    // Its shell ends it when the pipe closes, and that way alone it is ended when we die.
    this.#child.stdin?.destroy();
    const patience = setTimeout(() => this.#kill(), STOP_MS);
    await this.ended;
    clearTimeout(patience);
  }

  #kill(): void {
    try {
      if (this.#child.pid !== undefined) process.kill(-this.#child.pid, 'SIGKILL');
    } catch {
      // It has just ended.
    }
  }

  get #isOver(): boolean {
    return this.#failed !== undefined || this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  async #ready(connection: pg.ClientConfig, signal: AbortSignal): Promise<void> {
    const startedAt = performance.now();
    let silentSince = startedAt;
    for (;;) {
      const client = new pg.Client({ ...connection, connectionTimeoutMillis: SILENT_MS });
      client.on('error', () => {});
      try {
        await client.connect();
        await client.end();
        return;
      } catch (error) {
        await client.end().catch(() => {});
        if (this.#isOver) throw new Error(`PostgreSQL did not start: ${await this.ended}`);
        const now = performance.now();
        if ((error as { code?: string }).code === CANNOT_CONNECT_NOW) silentSince = now;
        if (now - silentSince > SILENT_MS || now - startedAt > MENDING_MS) {
          throw new Error(`PostgreSQL takes no connections: ${error}\n${this.#lastWords}`);
        }
        await sleep(10, undefined, { signal }).catch(() => signal.throwIfAborted());
      }
    }
  }

  async #end(): Promise<string> {
    try {
      await once(this.#child, 'exit');
    } catch (error) {
      this.#failed = error as Error;
      return `it could not be started: ${this.#failed.message}`;
    }
    const { stderr, exitCode, signalCode } = this.#child;
    if (stderr !== null && !stderr.destroyed) {
      const patience = new AbortController();
      const late = sleep(LAST_WORDS_MS, undefined, { signal: patience.signal }).catch(() => {});
      await Promise.race([once(stderr, 'close').catch(() => {}), late]);
      patience.abort();
      stderr.destroy();
    }
    return `${how(exitCode, signalCode)}${this.#lastWords === '' ? ', and said nothing' : `: ${this.#lastWords.trim()}`}`;
  }
}

/** The shell around it ends with 128 and the number of the signal that ended it. */
function how(exitCode: number | null, signal: string | null): string {
  const number = exitCode !== null && exitCode > 128 ? exitCode - 128 : undefined;
  const name = signal ?? Object.entries(constants.signals).find(([, value]) => value === number)?.[0];
  return name === undefined ? `it ended with code ${exitCode}` : `it was ended by ${name}`;
}
