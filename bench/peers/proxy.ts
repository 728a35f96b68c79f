/** The least that can stand before a program which answers requests: Fastify and undici, with Express in another process. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fastify from 'fastify';
import { type Dispatcher, Pool } from 'undici';

class Passage implements Dispatcher.DispatchHandler {
  readonly #to: ServerResponse;

  constructor(to: ServerResponse) {
    this.#to = to;
  }

  onRequestStart(): void {}

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    const { connection: _connection, 'keep-alive': _keepAlive, ...passed } = headers;
    this.#to.writeHead(status, passed as Record<string, string>);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#to.write(chunk);
  }

  onResponseEnd(): void {
    this.#to.end();
  }

  onResponseError(): void {
    this.#to.destroy();
  }
}

const folder = await mkdtemp(join(tmpdir(), 'isopod-bench-proxy-'));
const socketPath = join(folder, 'express.sock');
const behind = fork(new URL('./express.ts', import.meta.url), [socketPath]);
process.once('SIGTERM', () => void rm(folder, { recursive: true, force: true }).then(() => process.exit()));
await once(behind, 'message');

const pool = new Pool('http://express', { socketPath, connections: null, pipelining: 1 });
const app = fastify();
// Bodies go on as they come.
app.removeAllContentTypeParsers();
app.addContentTypeParser('*', (_request, _payload, done) => done(null));
app.all('/', (request, reply) => {
  const { raw } = request;
  const { 'content-type': type, 'content-length': length } = raw.headers;
  const headers = {
    host: 'express',
    ...(type && { 'content-type': type }),
    ...(length && { 'content-length': length }),
  };
  const body = raw.method === 'POST' ? raw : null;
  reply.hijack();
  pool.dispatch({ path: '/', method: raw.method as Dispatcher.HttpMethod, headers, body }, new Passage(reply.raw));
});
await app.listen({ host: '127.0.0.1', port: Number(process.argv[2]) });
