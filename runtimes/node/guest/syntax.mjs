import { execFile } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { basename, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cut } from './errors.mjs';

/** So many files are asked about, for so long in all: the plugin is still being started. */
const FILES_MOST = 8;
const CHECK_MS = 1_500;
/** A file in one line is told whole, and once more as spaces. */
const OUTPUT_MOST = 4 << 20;
const NAME_LETTERS = 300;
const SOURCE_LETTERS = 200;

/** What Node tells: a file and a line, that line, and marks below what is wrong. */
const TOLD = /^[^\n]*:(\d+)\n([^\n]*)\n([ \t]*)(\^+)[^\n]*\n\s*SyntaxError(?: \[\w+\])?: ([^\n]*)/m;

/**
 * Where a module cannot be read. Of an ES module Node knows, and says so only where it dies of that: so another Node is asked,
 * which runs nothing of the file. It can be but one of those that were found last.
 */
export class Syntax {
  #found = [];
  #hooks = registerHooks({
    resolve: (specifier, context, next) => {
      const found = next(specifier, context);
      if (found.url.startsWith('file:')) this.#found = [found.url, ...this.#found].slice(0, FILES_MOST);
      return found;
    },
  });

  /** The error, which says where it is if that can be known. `path` is what was to be imported, and `folder` the plugin's. */
  async located(error, path, folder) {
    try {
      if (!isUnlocated(error)) return error;
      const place = await this.#placeOf(error.message, folder).catch(() => null);
      if (place !== null) return said(error, place);
      return isOfLoader(error) ? said(error, { at: `${basename(path)}, or in what it imports`, shown: '' }) : error;
    } catch {
      // It may be anything that the plugin has thrown.
      return error;
    }
  }

  close() {
    this.#hooks.deregister();
  }

  async #placeOf(message, folder) {
    const home = realpathSync(folder);
    const signal = AbortSignal.timeout(CHECK_MS);
    for (const url of new Set(this.#found)) {
      const file = fileURLToPath(url);
      const [, line, source, before, marks, words] = TOLD.exec(await toldOf(file, signal)) ?? [];
      // What was thrown while it ran is no fault of a file that nobody has asked for any more.
      if (words === undefined || words !== message.split('\n')[0]) continue;
      const at = `${named(file, home)}:${line}`;
      const marked = source.length > SOURCE_LETTERS ? '' : `${plain(source)}\n${before}${marks}\n`;
      return { at: `${at}:${before.length + 1}`, shown: `${at}\n${marked}\n` };
    }
    return null;
  }
}

function isUnlocated(error) {
  if (!(error instanceof SyntaxError) || typeof error.message !== 'string') return false;
  const { stack } = error;
  // Where a file and a line stand first, it is told already.
  return typeof stack === 'string' && stack.startsWith('SyntaxError') && (isOfLoader(error) || !/^ +at /m.test(stack));
}

/** Not what the plugin's own code has thrown, of JSON or of other code that it reads. */
function isOfLoader({ stack }) {
  return /^ +at /m.test(stack) && /^ +at [^\n]*node:internal\/modules\//.test(stack.slice(stack.search(/^ +at /m)));
}

function said(error, { at, shown }) {
  const before = error.message;
  const { stack } = error;
  error.message = `${before} (in ${at})`;
  error.stack = shown + stack.replace(before, () => error.message);
  return error;
}

/** As the plugin knows it. */
function named(file, home) {
  const name = file.startsWith(home + sep) ? relative(home, file) : basename(file);
  return plain(cut(name, NAME_LETTERS));
}

/** Nothing that could break a line. */
function plain(text) {
  return text.toWellFormed().replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (one) => (one === '\t' ? one : ' '));
}

function toldOf(file, signal) {
  return new Promise((resolve) => {
    const options = { signal, killSignal: 'SIGKILL', maxBuffer: OUTPUT_MOST, encoding: 'utf8' };
    execFile(process.execPath, ['--check', file], options, (_error, _stdout, stderr) => resolve(stderr));
  });
}
