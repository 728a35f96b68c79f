import { execFile } from 'node:child_process';
import { chown, mkdtemp, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

/** A folder for one run: where the plugin stands, its HOME and its TMPDIR. It goes with its scope. */
export class Scratch implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** `owner` is whom it belongs to, where that is not us. */
  static async create(parent: string, owner: number | null): Promise<Scratch> {
    const path = await mkdtemp(join(parent, 'run-'));
    if (owner !== null) await chown(path, owner, owner);
    return new Scratch(path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await removed(this.path);
  }
}

/**
 * Removes a folder whatever is in it. Most are empty. For the others a process of its own: a million files keep it
 * busy and not us, and it gets along with paths longer than a path may be and with folders nobody may enter.
 */
export async function removed(folder: string): Promise<void> {
  if (
    await rmdir(folder).then(
      () => true,
      () => false,
    )
  )
    return;
  const script = 'rm -rf -- "$1" 2>/dev/null || { chmod -R u+rwx -- "$1"; rm -rf -- "$1"; }';
  await new Promise<void>((resolve) => {
    execFile('/bin/sh', ['-c', script, 'sh', folder], { maxBuffer: 64 << 20 }, () => resolve());
  });
}
