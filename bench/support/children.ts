/** Child processes of the bench. None outlives it. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';

const children = new Set<ChildProcess>();
const GRACE_MS = 3000;

process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

export class Child implements AsyncDisposable {
  readonly process: ChildProcess;
  /** All that it has written to stderr, for messages. */
  complaint = '';

  constructor(command: string, args: readonly string[], options: SpawnOptions = {}) {
    this.process = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], ...options });
    children.add(this.process);
    this.process.once('exit', () => children.delete(this.process));
    this.process.once('error', (error) => {
      children.delete(this.process);
      this.complaint += String(error);
    });
    this.process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.complaint = (this.complaint + text).slice(-2000);
    });
  }

  get pid(): number {
    return this.process.pid ?? -1;
  }

  get ended(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null || this.process.pid === undefined;
  }

  /** Waits until it answers on `url`. */
  async answers(url: string, seconds = 15): Promise<void> {
    const until = performance.now() + seconds * 1000;
    while (performance.now() < until && !this.ended) {
      const response = await fetch(url).catch(() => null);
      await response?.arrayBuffer();
      if (response !== null && response.status < 500) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`${this.process.spawnfile} does not answer at ${url}\n${this.complaint}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.ended) return;
    const exit = once(this.process, 'exit');
    this.process.kill('SIGTERM');
    const timer = setTimeout(() => this.process.kill('SIGKILL'), GRACE_MS);
    await exit;
    clearTimeout(timer);
  }
}

/** Runs one of our files with the Node that runs the bench, and gives the JSON that it prints. */
export async function jsonFrom<T>(flags: readonly string[], file: URL, input: unknown): Promise<T> {
  await using child = new Child(process.execPath, [...flags, file.pathname, JSON.stringify(input)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  child.process.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await once(child.process, 'close');
  if (child.process.exitCode !== 0) throw new Error(`${file.pathname} failed\n${child.complaint}`);
  return JSON.parse(text) as T;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
