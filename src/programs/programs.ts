import { execFile } from 'node:child_process';
import { access, constants, open, stat } from 'node:fs/promises';
import { basename, isAbsolute } from 'node:path';
import { everyOnPath, isExecutable, isFile, onPath } from '../confinement/on-path.ts';

export type ProgramsOptions = {
  path: string | undefined;
  pythonPath: string | undefined;
  /** Whether whoever programs run as could start it. */
  isUsable(file: string): Promise<boolean>;
};

/** Finds programs on this machine. What it has found it remembers: a look costs more than many a plugin's run. */
export class Programs {
  readonly #path: string | undefined;
  readonly #pythonPath: string | undefined;
  readonly #isUsable: (file: string) => Promise<boolean>;
  readonly #found = new Map<string, string>();
  #python: Promise<Interpreter | null> | null = null;

  constructor({ path, pythonPath, isUsable }: ProgramsOptions) {
    this.#isUsable = isUsable;
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

  /** Whether it is what this machine's own path leads to, and not only something that a plugin names. */
  async isKnown(file: string): Promise<boolean> {
    return isAbsolute(file) && (await this.find(basename(file))) === file;
  }

  /** The interpreter for `python` and `python3`: the configured one, else python3, else python; null without any. */
  async python(): Promise<Interpreter | null> {
    this.#python ??= this.#findPython();
    const found = await this.#python;
    // None yet is not none for ever.
    if (found === null) this.#python = null;
    return found;
  }

  /** A certain interpreter; null where it cannot be used. */
  async interpreter(file: string): Promise<Interpreter | null> {
    if (!(await isFile(file))) return null;
    const python = await realPython(file);
    return (await this.#isUsable(python.file)) ? python : null;
  }

  async #findPython(): Promise<Interpreter | null> {
    const configured = this.#pythonPath !== undefined && (await isFile(this.#pythonPath)) ? [this.#pythonPath] : [];
    for (const file of [...configured, ...(await everyOnPath(['python3', 'python'], this.#path))]) {
      const python = await realPython(file);
      if (await this.#isUsable(python.file)) return python;
    }
    return null;
  }
}

/** An interpreter, and what of this machine it cannot do without. */
export type Interpreter = { file: string; needs: readonly string[] };

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
  const interpreter = SHEBANG.exec(head)?.[1]?.split(/[ \t]/)[0];
  if (interpreter !== undefined && !(await isExecutable(interpreter))) {
    return `there is no ${JSON.stringify(interpreter)}, which its first line asks for`;
  }
  return null;
}

// A version manager puts a script before each interpreter that costs more than the interpreter's own start. Inside a
// virtual environment `sys.executable` is that environment's, which is what its packages need.
async function realPython(found: string): Promise<Interpreter> {
  const ask = 'import sys; print(sys.executable); print(sys.prefix); print(sys.base_prefix)';
  const { promise, resolve } = Promise.withResolvers<string>();
  execFile(found, ['-I', '-S', '-c', ask], { timeout: 10_000, killSignal: 'SIGKILL' }, (error, stdout) =>
    resolve(error === null ? stdout : ''),
  );
  const [real = '', ...prefixes] = (await promise).trim().split('\n');
  const isReal = isAbsolute(real) && (await isExecutable(real));
  return { file: isReal ? real : found, needs: isReal ? prefixes.filter(isAbsolute) : [] };
}

/** The first line of a script, without its mark; null for what is none. */
export async function interpreterOf(file: string): Promise<string | null> {
  return SHEBANG.exec(await firstBytes(file))?.[1] ?? null;
}

const SHEBANG = /^#![ \t]*([^\n]*)/;

/** Of a file that may be anything by now: one that waits for somebody at its other end must not have us wait. */
async function firstBytes(file: string): Promise<string> {
  try {
    await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!(await handle.stat()).isFile()) return '';
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(256), 0, 256, 0);
    return buffer.toString('latin1', 0, bytesRead);
  } catch {
    // A program may be executable and not readable; then there is nothing to say about it.
    return '\x7fELF';
  }
}
