/**
 * Tells all nodes what has happened to jobs, once it has been committed.
 *
 * Not in the transaction itself: PostgreSQL lets transactions with notifications commit one at a time, each as long as
 * the disk takes, so that all nodes would wait for each other. What is to be told while something is being told is told
 * together after it. Nothing depends on being told: whoever listens also looks by itself now and then, so what is lost
 * with this node, or with its connection, only comes later.
 */
import { sql } from 'kysely';
import type { Db, Tx } from '../database.ts';
import { inTransaction } from '../transaction.ts';
import { News } from './news.ts';

export class Herald implements AsyncDisposable {
  readonly #db: Db;
  #next = new News();
  #telling: Promise<void> | undefined;

  constructor(db: Db) {
    this.#db = db;
  }

  /**
   * All of `work` or nothing of it, as `inTransaction` has it; then what it has put into `news` is told. What a caller
   * asks is done on the caller's `db`.
   */
  async during<R>(work: (tx: Tx, news: News) => Promise<R>, db = this.#db): Promise<R> {
    let news = new News();
    const result = await inTransaction(db, (tx) => {
      news = new News();
      return work(tx, news);
    });
    this.tell(news);
    return result;
  }

  tell(news: News): void {
    this.#next.add(news);
    if (!this.#next.isEmpty) this.#telling ??= this.#tell();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#telling;
  }

  async #tell(): Promise<void> {
    while (!this.#next.isEmpty) {
      const { notes } = this.#next;
      this.#next = new News();
      const telling = sql`
        select pg_notify(channel, payload)
        from json_to_recordset(${JSON.stringify(notes)}::json) as notes (channel text, payload text)
      `.execute(this.#db);
      await telling.catch(() => {});
    }
    this.#telling = undefined;
  }
}
