import type { Config } from '../../src/config.ts';
import type { Service } from '../../src/service.ts';

/** An answer as a test wants to look at it. `body` is parsed where it is JSON. */
// biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came back
export type Answer = { status: number; headers: Headers; text: string; body: any };

export type Asking = { token?: string | undefined; body?: unknown; headers?: Record<string, string> };

export async function ask(url: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(url, { redirect: 'manual', ...init });
  const text = await response.text();
  const json = /\bjson\b/.test(response.headers.get('content-type') ?? '');
  return { status: response.status, headers: response.headers, text, body: json ? JSON.parse(text) : undefined };
}

/** A service under test and a client for it, over a real socket. */
export class TestService implements AsyncDisposable {
  readonly url: string;
  readonly service: Service;
  readonly config: Config;
  /** The lines of its log so far. */
  readonly lines: readonly string[];
  readonly #cleanUp: () => Promise<void>;

  constructor(service: Service, config: Config, lines: readonly string[], cleanUp: () => Promise<void>) {
    this.url = service.url;
    this.service = service;
    this.config = config;
    this.lines = lines;
    this.#cleanUp = cleanUp;
  }

  /** POST an invocation, e.g. `invoke('demo', { task: 'Run' }, '?include=logs')`. */
  invoke(plugin: string, body: unknown = {}, query = '', init: RequestInit = {}): Promise<Answer> {
    return this.fetch(`/v1/plugins/${encodeURIComponent(plugin)}/invocations${query}`, {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...init,
      headers: { 'content-type': 'application/json', ...(init.headers as Record<string, string>) },
    });
  }

  /** Any request with a JSON body, e.g. `ask('PATCH', '/v1/tenants/acme', { body: { name: 'Acme' }, token })`. */
  ask(method: string, path: string, { token, body, headers }: Asking = {}): Promise<Answer> {
    return this.fetch(path, {
      method,
      headers: {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.fetch(path, { headers });
  }

  fetch(path: string, init: RequestInit = {}): Promise<Answer> {
    return ask(this.url + path, init);
  }

  /** The log as objects, without what is not of the invocation `id` if one is given. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look at whatever was logged
  log(id?: string): any[] {
    const all = this.lines.map((line) => JSON.parse(line));
    return id === undefined ? all : all.filter((one) => one.invocation === id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.service.close();
    await this.#cleanUp();
  }
}
