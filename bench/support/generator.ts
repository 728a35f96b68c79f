/**
 * The load generator, a process of its own: `node generator.ts '{"port":…,"paths":[…],"body":…,"seconds":…}'`.
 *
 * The machine's cores are shared with what is measured, so it does as little as HTTP/1.1 allows: kept connections, one
 * request outstanding on each, bytes written as they are. Of an answer it reads the status and the length, and the
 * body of one in a thousand.
 */
import { connect, type Socket } from 'node:net';
import type { Load, LoadResult } from './load.ts';

const SAMPLE_EVERY = 1000;
const BUCKET_MS = 0.02;
const HEAD_END = '\r\n\r\n';

const {
  port,
  paths,
  body,
  seconds,
  count = Number.POSITIVE_INFINITY,
  status,
  connections,
  expect,
} = JSON.parse(process.argv[2] ?? '') as Load;

const requests = paths.map((path) =>
  Buffer.from(
    `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: application/json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  ),
);

let sent = 0;
let done = 0;
let bad = 0;
let example = '';
let over = false;
const buckets = new Uint32Array(100_000);

function blame(what: string): void {
  bad += 1;
  example ||= what.slice(0, 400);
}

class Connection {
  readonly #socket: Socket;
  #pending = '';
  #sentAt = 0;

  constructor() {
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.setEncoding('latin1');
    this.#socket.on('connect', () => this.#send());
    this.#socket.on('data', (chunk: string) => this.#receive(chunk));
    this.#socket.on('error', (error) => blame(String(error)));
    this.#socket.on('close', () => {
      if (!over) blame('the connection was closed');
    });
  }

  end(): void {
    this.#socket.destroy();
  }

  #send(): void {
    this.#sentAt = performance.now();
    this.#socket.write(requests[sent++ % requests.length] as Buffer);
  }

  #receive(chunk: string): void {
    const text = this.#pending === '' ? chunk : this.#pending + chunk;
    const headEnd = text.indexOf(HEAD_END);
    const length = headEnd === -1 ? null : /\ncontent-length: *(\d+)/i.exec(text.slice(0, headEnd + 2));
    if (headEnd !== -1 && length === null) {
      blame(`no content-length: ${text}`);
      this.#socket.destroy();
      return;
    }
    const bodyAt = headEnd + HEAD_END.length;
    if (length === null || text.length < bodyAt + Number(length[1])) {
      this.#pending = text;
      return;
    }
    this.#pending = '';
    if (over) return;
    done += 1;
    const bucket = Math.min(buckets.length - 1, ((performance.now() - this.#sentAt) / BUCKET_MS) | 0);
    buckets[bucket] = (buckets[bucket] ?? 0) + 1;
    if (!text.startsWith(`${status}`, 9)) blame(text);
    else if (done % SAMPLE_EVERY === 1 && !text.includes(expect, bodyAt)) blame(`not as expected: ${text}`);
    if (done === count) finish();
    else if (sent < count) this.#send();
  }
}

function quantile(share: number): number {
  let left = done * share;
  for (let index = 0; index < buckets.length; index++) {
    left -= buckets[index] ?? 0;
    if (left <= 0) return (index + 1) * BUCKET_MS;
  }
  return Number.POSITIVE_INFINITY;
}

const startedAt = performance.now();
const all = Array.from({ length: Math.min(connections, count) }, () => new Connection());
const timer = setTimeout(finish, seconds * 1000);

function finish(): void {
  clearTimeout(timer);
  const took = (performance.now() - startedAt) / 1000;
  over = true;
  const cpu = process.cpuUsage();
  for (const one of all) one.end();
  const result: LoadResult = {
    perSecond: done / took,
    startedAt: performance.timeOrigin + startedAt,
    done,
    bad,
    example,
    p50Ms: quantile(0.5),
    p99Ms: quantile(0.99),
    cpuShare: (cpu.user + cpu.system) / 1e6 / took,
  };
  process.stdout.write(JSON.stringify(result));
}
