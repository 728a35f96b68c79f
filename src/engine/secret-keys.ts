import { hkdfSync, randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export type SecretKeysOptions = {
  /** The key of the configuration, and those that were used before. */
  key: string | undefined;
  before: readonly string[];
  /** Where a key of this node's own is kept, for as long as the configuration has none. */
  dataDir: string;
};

/** `id` tells which one it is, and nothing of it. */
export type SecretKey = { id: string; bytes: Buffer };

/** In the data folder. */
export const SECRETS_FILE = 'secrets.key';
const LETTERS_LEAST = 32;
const FOR_EVERYTHING = 'isopod secrets';
const FOR_NAMES = 'isopod secrets: name of the key';

/** The keys that secrets are kept under: one that seals, and all that open. */
export class SecretKeys {
  readonly #options: SecretKeysOptions;
  readonly #known = new Map<string, SecretKey>();
  #present: SecretKey | undefined;

  /** Throws an Error that says so where there is a key of this node's own that cannot be used. */
  constructor(options: SecretKeysOptions) {
    this.#options = options;
    const { key, before } = options;
    const file = readKey(this.#file);
    if (key !== undefined) this.#present = keyOf(key);
    else if (file !== undefined) this.#present = keyOf(file);
    for (const one of [...before.map(keyOf), ...(file === undefined ? [] : [keyOf(file)])])
      this.#known.set(one.id, one);
    if (this.#present !== undefined) this.#known.set(this.#present.id, this.#present);
  }

  /** The one that seals. Where there is none yet it is made now, so that a service without secrets has no such file. */
  get present(): SecretKey {
    this.#present ??= this.#make();
    return this.#present;
  }

  /** Undefined where it is none of ours. */
  find(id: string): SecretKey | undefined {
    return this.#known.get(id);
  }

  get #file(): string {
    return join(this.#options.dataDir, SECRETS_FILE);
  }

  #make(): SecretKey {
    mkdirSync(this.#options.dataDir, { recursive: true });
    writeOnce(this.#file, `${randomBytes(32).toString('base64url')}\n`);
    // It may be another's by now, who was quicker.
    const text = readKey(this.#file);
    if (text === undefined) throw new Error(`${this.#file} was removed as soon as it was made`);
    const key = keyOf(text);
    this.#known.set(key.id, key);
    return key;
  }
}

function keyOf(text: string): SecretKey {
  const derived = (info: string, bytes: number) => Buffer.from(hkdfSync('sha256', text, '', info, bytes));
  return { id: derived(FOR_NAMES, 6).toString('hex'), bytes: derived(FOR_EVERYTHING, 32) };
}

function readKey(file: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8').trim();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new Error(`The key of this node's secrets cannot be read: ${message}`);
  }
  if (text.length >= LETTERS_LEAST) return text;
  throw new Error(`${file} is no key: it has fewer than ${LETTERS_LEAST} letters. Put it back, or remove it with them`);
}

/** Whole or not at all, whatever happens to this machine meanwhile; what is there already stays. */
function writeOnce(file: string, text: string): void {
  const whole = `${file}.${randomBytes(4).toString('hex')}`;
  const descriptor = openSync(whole, 'wx', 0o600);
  try {
    writeSync(descriptor, text);
    fsyncSync(descriptor);
    linkSync(whole, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    closeSync(descriptor);
    rmSync(whole, { force: true });
  }
}
