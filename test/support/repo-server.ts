/** A repository of plugins on loopback: whatever files a test puts there. */
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export class RepoServer implements AsyncDisposable {
  readonly #server: Server;
  readonly files = new Map<string, string | Buffer | RequestListener>();
  /** The paths that were asked for. */
  readonly asked: string[] = [];
  port = 0;

  private constructor() {
    this.#server = createServer((request, response) => {
      const path = request.url ?? '/';
      this.asked.push(path);
      const file = this.files.get(path);
      if (file === undefined) response.writeHead(404).end();
      else if (typeof file === 'function') file(request, response);
      else response.end(file);
    });
  }

  static async start(): Promise<RepoServer> {
    const repo = new RepoServer();
    repo.#server.listen(0, '127.0.0.1');
    await once(repo.#server, 'listening');
    repo.port = (repo.#server.address() as AddressInfo).port;
    return repo;
  }

  /** The URL of a file, which is put there if it is given. */
  at(path: string, file?: string | Buffer | RequestListener): string {
    if (file !== undefined) this.files.set(path, file);
    return `http://127.0.0.1:${this.port}${path}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
