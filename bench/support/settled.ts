import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

const LOOK_MS = 10;
const MOST_MS = 120_000;

/** Looks into a database until a question finds nothing any more. Disposing it ends its connection. */
export class Watch implements AsyncDisposable {
  readonly #client: pg.Client;
  readonly #question: string;

  private constructor(client: pg.Client, question: string) {
    this.#client = client;
    this.#question = question;
  }

  /** `question` is a statement that gives rows for as long as there is something left to be done. */
  static async open(url: string, question: string): Promise<Watch> {
    const client = new pg.Client(url);
    await client.connect();
    return new Watch(client, question);
  }

  /** When it was over, in ms since 1970. */
  async over(): Promise<number> {
    const until = Date.now() + MOST_MS;
    for (;;) {
      const { rows } = await this.#client.query(this.#question);
      const now = Date.now();
      if (rows.length === 0) return now;
      if (now > until) throw new Error(`jobs are left after ${MOST_MS} ms`);
      await sleep(LOOK_MS);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.end();
  }
}
