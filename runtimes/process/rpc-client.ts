import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { closed } from '../../src/programs/settling.ts';
import { JsonObjects, Unfit } from './json-objects.ts';
import { type Reply, readReply } from './rpc-reply.ts';

/**
 * The calling side of JSON-RPC 1.0 over a program's standard input and output. Answers may come in any order. What is no
 * answer ends it, as it does for Go's client: nothing that comes behind it could be trusted. Leaving its scope hangs up.
 */
export class RpcClient implements Disposable {
  /** Resolves when nothing can come any more. */
  readonly closed: Promise<void>;

  readonly #stdin: Writable;
  readonly #stdout: Socket;
  readonly #objects = new JsonObjects((text) => this.#answer(readReply(text)));
  readonly #asked: PromiseWithResolvers<Reply>[] = [];
  readonly #deaf = new AbortController();
  #sent: Promise<void> = Promise.resolve();
  #over = false;

  /** `onBytes` is told how many have come in all, after they were looked at. */
  constructor(stdin: Writable, stdout: Socket, onBytes: (bytes: number) => void) {
    this.#stdin = stdin;
    this.#stdout = stdout;
    // A program need not read what it is sent; whether it answers is all that counts.
    stdin.on('error', () => {}).once('close', () => this.#deaf.abort());
    let bytes = 0;
    this.closed = closed(stdout, (chunk) => {
      if (this.#over) return;
      this.#read(chunk);
      bytes += chunk.length;
      if (!this.#over) onBytes(bytes);
    });
  }

  /**
   * `request` is the text of a request whose id is the number of calls before it; it is sent when those are. Rejects with
   * an `Unfit` for what is no answer; settles never where none comes.
   */
  call(request: AsyncIterable<Buffer> | Iterable<string>): Promise<Reply> {
    const asked = Promise.withResolvers<Reply>();
    // Whoever was stopped before has no reason to wait for it.
    asked.promise.catch(() => {});
    this.#asked.push(asked);
    this.#sent = this.#sent.then(() => this.#send(request));
    return asked.promise;
  }

  /** What has come of an answer whose end has not; null without any. */
  get unfinished(): string | null {
    return this.#objects.unfinished;
  }

  /** Closes both ways: no more calls, and no more answers. */
  hangUp(): void {
    this.#over = true;
    this.#stdin.destroy();
    this.#stdout.destroy();
  }

  [Symbol.dispose](): void {
    this.hangUp();
  }

  async #send(request: AsyncIterable<Buffer> | Iterable<string>): Promise<void> {
    try {
      for await (const piece of request) {
        if (!this.#stdin.write(piece)) await once(this.#stdin, 'drain', { signal: this.#deaf.signal });
      }
    } catch {
      // It has closed its standard input, or the run is over.
    }
  }

  #read(chunk: Buffer): void {
    try {
      this.#objects.push(chunk);
    } catch (unfit) {
      this.#over = true;
      for (const { reject } of this.#asked) reject(unfit);
    }
  }

  #answer(reply: Reply): void {
    const asked = this.#asked[reply.id];
    if (asked === undefined)
      throw new Unfit(`is to the call ${reply.id}, which nobody has made`, JSON.stringify(reply));
    asked.resolve(reply);
  }
}
