import { hkdfSync } from 'node:crypto';
import { join } from 'node:path';
import { keptKey, readKey } from './key-file.ts';

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
    const text = keptKey(this.#file);
    const key = keyOf(text);
    this.#known.set(key.id, key);
    return key;
  }
}

function keyOf(text: string): SecretKey {
  const derived = (info: string, bytes: number) => Buffer.from(hkdfSync('sha256', text, '', info, bytes));
  return { id: derived(FOR_NAMES, 6).toString('hex'), bytes: derived(FOR_EVERYTHING, 32) };
}
