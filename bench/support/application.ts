/** The application that plugins call back, in a process of its own. */
import { Agent, request } from 'node:http';
import { Child, freePort } from './children.ts';

export const QUERY = 'query Scene($id: ID) { findScene(id: $id) { id title } }';
export const VARIABLES = { id: '1' };

export class Application implements AsyncDisposable {
  readonly url: string;
  readonly #child: Child;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  private constructor(url: string, child: Child) {
    this.url = url;
    this.#child = child;
  }

  static async start(): Promise<Application> {
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const child = new Child(process.execPath, [
      new URL('../peers/application.ts', import.meta.url).pathname,
      `${port}`,
    ]);
    try {
      await child.answers(url);
    } catch (error) {
      await child[Symbol.asyncDispose]();
      throw error;
    }
    return new Application(url, child);
  }

  /** One query without anybody between, on a connection that is kept. Whether it was answered. */
  ask(): Promise<boolean> {
    const body = JSON.stringify({ query: QUERY, variables: VARIABLES });
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    return new Promise((resolve, reject) => {
      const call = request(`${this.url}/graphql`, { method: 'POST', agent: this.#agent, headers }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () => resolve(JSON.parse(text).data.findScene.title === 'A scene'));
      });
      call.on('error', reject).setTimeout(10_000, () => call.destroy(new Error('no answer in 10 s')));
      call.end(body);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy();
    await this.#child[Symbol.asyncDispose]();
  }
}
