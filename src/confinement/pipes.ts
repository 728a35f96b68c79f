import { execFile } from 'node:child_process';
import { closeSync, constants, openSync, unlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

/**
 * Real pipes, for what a program writes. What Node gives a child as a 'pipe' is a socket, and a program that writes
 * to `/dev/stderr` by name finds that a socket cannot be opened (ENXIO). Node cannot make a pipe, but it can open a
 * named one. So we keep a stock of those, made many at a time; one is opened at both ends, and its name removed,
 * before anybody gets to see it.
 *
 * (For a text that a program reads they will not do: to open a named pipe by `/dev/stdin` waits for somebody who writes,
 * and with a short text we have written and are gone. See input.ts. A conversation goes on for as long as we write.)
 */
export class Pipes {
  readonly #folder: string;
  readonly #stock: string[] = [];
  #made = 0;
  #making: Promise<void> | null = null;

  /** `folder` must be ours alone. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  async open(): Promise<Pipe> {
    const name = await this.#take();
    try {
      return outputOf(name);
    } finally {
      unlinkSync(name);
    }
  }

  /** The other way round, for a program that is written to while it runs. */
  async openInput(): Promise<Pipe> {
    const name = await this.#take();
    try {
      return inputOf(name);
    } finally {
      unlinkSync(name);
    }
  }

  async #take(): Promise<string> {
    for (;;) {
      const name = this.#stock.pop();
      if (this.#stock.length < BATCH / 2) this.#making ??= this.#make();
      if (name === undefined) await this.#making;
      else {
        // Who finds the stock empty is told why; nobody else has to know.
        this.#making?.catch(() => {});
        return name;
      }
    }
  }

  async #make(): Promise<void> {
    try {
      const names = Array.from({ length: BATCH }, () => join(this.#folder, `pipe-${this.#made++}`));
      // Anyone may open them, since a plugin may run as somebody else; and nobody can but through his own descriptor.
      await promisify(execFile)('mkfifo', ['-m', '666', ...names]);
      this.#stock.push(...names);
    } finally {
      this.#making = null;
    }
  }
}

/** A pipe between us and a child. The child's end is to be given to it, and then closed here. */
export class Pipe implements Disposable {
  readonly socket: Socket;
  readonly fd: number;
  #given = false;

  constructor(socket: Socket, fd: number) {
    this.socket = socket;
    this.fd = fd;
  }

  given(): void {
    if (!this.#given) closeSync(this.fd);
    this.#given = true;
  }

  [Symbol.dispose](): void {
    this.given();
    this.socket.destroy();
  }
}

/** That we read and the child writes. */
function outputOf(name: string): Pipe {
  // In this order, and not blocking: each end waits for the other otherwise.
  const ours = openSync(name, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const theirs = openSync(name, constants.O_WRONLY);
    return new Pipe(new Socket({ fd: ours, readable: true, writable: false }), theirs);
  } catch (error) {
    closeSync(ours);
    throw error;
  }
}

/** That we write and the child reads. */
function inputOf(name: string): Pipe {
  // Nobody can write before somebody reads, and the child's end is one that waits for what it reads.
  const first = openSync(name, constants.O_RDONLY | constants.O_NONBLOCK);
  let ours: number | null = null;
  try {
    ours = openSync(name, constants.O_WRONLY | constants.O_NONBLOCK);
    const theirs = openSync(name, constants.O_RDONLY);
    const socket = new Socket({ fd: ours, readable: false, writable: true });
    // A program that does not read is no error of ours.
    return new Pipe(
      socket.on('error', () => {}),
      theirs,
    );
  } catch (error) {
    if (ours !== null) closeSync(ours);
    throw error;
  } finally {
    closeSync(first);
  }
}

const BATCH = 30;
