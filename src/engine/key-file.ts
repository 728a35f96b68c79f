/** Keys that this node makes itself, each in a file of the data folder, which nobody else may read. */
import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

const LETTERS_LEAST = 32;

/** As it is kept, and made where there is none. */
export function keptKey(file: string): string {
  const known = readKey(file);
  if (known !== undefined) return known;
  mkdirSync(dirname(file), { recursive: true });
  writeOnce(file, `${randomBytes(32).toString('base64url')}\n`);
  // It may be another's by now, who was quicker.
  const text = readKey(file);
  if (text === undefined) throw new Error(`${file} was removed as soon as it was made`);
  return text;
}

/** Undefined where there is none. Throws an Error that says so where it cannot be used. */
export function readKey(file: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8').trim();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new Error(`A key of this node cannot be read: ${message}`);
  }
  if (text.length >= LETTERS_LEAST) return text;
  throw new Error(
    `${file} is no key: it has fewer than ${LETTERS_LEAST} letters. Put it back, or remove it with what it is for`,
  );
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
