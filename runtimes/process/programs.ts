import { execFile } from 'node:child_process';
import { access, constants, open, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';

/** Finds programs on this machine. What it has found it remembers: a look costs more than many a plugin's run. */
export class Programs {
  readonly #path: string | undefined;
  readonly #pythonPath: string | undefined;
  readonly #found = new Map<string, string>();
  #python: Promise<string | null> | null = null;

  constructor({ path, pythonPath }: { path: string | undefined; pythonPath: string | undefined }) {
    this.#path = path;
    this.#pythonPath = pythonPath;
  }

  async find(name: string): Promise<string | null> {
    const known = this.#found.get(name);
    if (known !== undefined) return known;
    const file = await onPath(name, this.#path);
    if (file !== null) this.#found.set(name, file);
    return file;
  }

  /** The interpreter for `python` and `python3`: the configured one, else python3, else python; null without any. */
  async python(): Promise<string | null> {
    this.#python ??= this.#findPython();
    const found = await this.#python;
    // None yet is not none for ever.
    if (found === null) this.#python = null;
    return found;
  }

  async #findPython(): Promise<string | null> {
    const configured = this.#pythonPath !== undefined && (await isFile(this.#pythonPath)) ? this.#pythonPath : null;
    const found = configured ?? (await onPath('python3', this.#path)) ?? (await onPath('python', this.#path));
    return found === null ? null : realPython(found);
  }
}

/** The first executable file of that name in `path`. Entries that depend on where we happen to stand are skipped. */
export async function onPath(name: string, path: string | undefined): Promise<string | null> {
  if (name === '' || name.includes('/')) return null;
  for (const dir of (path ?? '').split(':')) {
    if (isAbsolute(dir) && (await isExecutable(join(dir, name)))) return join(dir, name);
  }
  return null;
}

/** Why the kernel would not start this file, in words; null where nothing speaks against it. */
export async function unstartable(file: string): Promise<string | null> {
  const found = await stat(file).catch(() => null);
  if (found === null) return 'there is no such program';
  if (!found.isFile()) return 'it is not a file';
  if (
    !(await access(file, constants.X_OK).then(
      () => true,
      () => false,
    ))
  )
    return 'the file is not executable (chmod +x)';
  const head = await firstBytes(file);
  // The C library would hand a file of any other kind to a shell, which then makes of it what it can.
  if (process.platform === 'linux' && !head.startsWith('\x7fELF') && !head.startsWith('#!')) {
    return 'it is neither a program of this machine nor a script that begins with #!';
  }
  const interpreter = /^#![ \t]*([^ \t\n]*)/.exec(head)?.[1];
  if (interpreter !== undefined && !(await isExecutable(interpreter))) {
    return `there is no ${JSON.stringify(interpreter)}, which its first line asks for`;
  }
  return null;
}

// A version manager puts a script before each interpreter that costs more than the interpreter's own start. Inside a
// virtual environment `sys.executable` is that environment's, which is what its packages need.
function realPython(found: string): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const args = ['-I', '-S', '-c', 'import sys; print(sys.executable)'];
  execFile(found, args, { timeout: 10_000, killSignal: 'SIGKILL' }, async (error, stdout) => {
    const real = stdout.trim();
    resolve(error === null && isAbsolute(real) && (await isExecutable(real)) ? real : found);
  });
  return promise;
}

async function firstBytes(file: string): Promise<string> {
  try {
    await using handle = await open(file);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(256), 0, 256, 0);
    return buffer.toString('latin1', 0, bytesRead);
  } catch {
    // A program may be executable and not readable; then there is nothing to say about it.
    return '\x7fELF';
  }
}

async function isFile(file: string): Promise<boolean> {
  return (await stat(file).catch(() => null))?.isFile() === true;
}

async function isExecutable(file: string): Promise<boolean> {
  if (!(await isFile(file))) return false;
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}
