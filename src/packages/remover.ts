/**
 * Takes folders away that may hold anything and any amount of it, as programs have written into them. The name is free at
 * once; what had it is removed by a process of its own, with little memory, whoever else is busy. Nobody waits for that:
 * what is not done when the service ends is found by its name at the next start.
 *
 * It is `rm` that removes, since it never follows a link, also where a program that still runs puts one in the place of
 * a folder at the wrong moment.
 */
import { spawn } from 'node:child_process';
import { readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { passingName, passingSince } from './folders.ts';

/** So many folders are given to one process. */
const AT_ONCE = 50;

export class Remover implements Disposable {
  /** Those that are being removed, and those that will be. */
  readonly #paths = new Set<string>();
  readonly #ended = new AbortController();
  #working = false;

  /** Resolves when nothing has that name any more. */
  async remove(path: string): Promise<void> {
    const away = join(dirname(path), passingName());
    try {
      await rename(path, away);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return;
      throw error;
    }
    this.#add(away);
  }

  /** Removes what is left in a folder of things that were to be removed, or never became whole. */
  async sweep(folder: string): Promise<void> {
    const names = await readdir(folder).catch((error) => {
      if (codeOf(error) === 'ENOENT') return [];
      throw error;
    });
    for (const name of names) if (passingSince(name) !== null) this.#add(join(folder, name));
  }

  /** Leaves the rest to the next start. */
  [Symbol.dispose](): void {
    this.#ended.abort();
  }

  #add(path: string): void {
    this.#paths.add(path);
    if (this.#working) return;
    this.#working = true;
    void this.#work();
  }

  async #work(): Promise<void> {
    while (this.#paths.size > 0 && !this.#ended.signal.aborted) {
      const some = [...this.#paths.values().take(AT_ONCE)];
      if (!(await this.#run('rm', '-rf', '--', ...some))) {
        // Somebody has taken the right to do so from us.
        await this.#run('chmod', '-R', 'u+rwX', '--', ...some);
        await this.#run('rm', '-rf', '--', ...some);
      }
      for (const path of some) this.#paths.delete(path);
    }
    this.#working = false;
  }

  /** Whether it went well. */
  #run(program: string, ...words: string[]): Promise<boolean> {
    const { signal } = this.#ended;
    if (signal.aborted) return Promise.resolve(false);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const child = spawn(program, words, {
      stdio: 'ignore',
      env: { PATH: '/usr/bin:/bin' },
      signal,
      killSignal: 'SIGKILL',
    });
    child.unref();
    child.once('error', () => resolve(false));
    child.once('exit', (code) => resolve(code === 0));
    return promise;
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as { code?: string }).code;
}
