import { createHash, type Hash } from 'node:crypto';
import { closeSync, constants, fchmodSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Modes, TreeFile } from './tree.ts';

const SHEBANG = Buffer.from('#!');

/** A file that is being written where there is none, and hashed on the way. It can be nothing but a new file of ours. */
export class NewFile implements Disposable {
  readonly #path: string;
  readonly #fd: number;
  readonly #hash: Hash = createHash('sha256');
  #bytes = 0;
  #begin = Buffer.alloc(0);

  constructor(root: string, path: string) {
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    this.#path = path;
    this.#fd = openSync(join(root, path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  }

  get bytes(): number {
    return this.#bytes;
  }

  write(chunk: Uint8Array): void {
    if (this.#begin.length < SHEBANG.length) this.#begin = Buffer.concat([this.#begin, chunk.subarray(0, 2)]);
    this.#hash.update(chunk);
    for (let at = 0; at < chunk.length; ) at += writeSync(this.#fd, chunk, at);
    this.#bytes += chunk.length;
  }

  /** Also what begins with `#!` may be executed: archivers on Windows do not know of it. */
  finish(executable: boolean, modes: Modes): TreeFile {
    const runs = executable || this.#begin.subarray(0, SHEBANG.length).equals(SHEBANG);
    // Not at the opening of it: there the umask counts.
    fchmodSync(this.#fd, runs ? modes.executable : modes.file);
    return { path: this.#path, bytes: this.#bytes, sha256: this.#hash.digest('hex'), executable: runs };
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
