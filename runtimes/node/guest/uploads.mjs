import { mkdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { after, forget } from './kept.mjs';

const FIELD_BYTES = 10 * 1024 * 1024;
const FIELDS_MOST = 1_000;
/** How long a plugin that has answered already may still want what came with the request. */
const KEPT_MS = 600_000;

/**
 * Files that come with requests. They lie in one folder until the plugin has moved them, which it may do after its answer;
 * but not for ever, and not more of them than one request may send. Contract: SillyTavern stores what comes as `avatar`
 * before anybody has looked at where the request goes.
 */
export class Uploads {
  #folder;
  #mostBytes;
  /** What may come of requests that are being read. */
  #coming = 0;
  /** Of requests that are over, the oldest first. */
  #left = [];

  constructor(dataRoot, mostBytes) {
    this.#folder = join(dataRoot, '_uploads');
    this.#mostBytes = mostBytes;
  }

  /** Express's middleware. `isWanted` tells of an answer whether the plugin has made it. */
  handler(multer, isWanted) {
    const folder = this.#folder;
    const destination = (_req, _file, done) => mkdir(folder, { recursive: true }).then(() => done(null, folder), done);
    const limits = { fieldSize: FIELD_BYTES, fields: FIELDS_MOST, fileSize: this.#mostBytes, files: 1 };
    const single = multer({ storage: multer.diskStorage({ destination }), limits }).single('avatar');
    return (req, res, next) => {
      const bytes = announced(req, this.#mostBytes);
      if (bytes === 0) return next();
      if (this.#coming > 0 && this.#coming + bytes > 2 * this.#mostBytes) return next(tooMany());
      this.#coming += bytes;
      single(req, res, (error) => {
        this.#coming -= bytes;
        const { path, size } = req.file ?? {};
        if (path !== undefined) res.once('close', () => this.#leave({ path, size }, isWanted(res)));
        // Whatever is not of the disk is of the body, and that is the caller's.
        if (error && error.syscall === undefined) error.status ??= /SIZE|COUNT/.test(error.code) ? 413 : 400;
        next(error);
      });
    };
  }

  #leave(file, isWanted) {
    if (!isWanted) return drop(file);
    this.#left.push(file);
    let sum = this.#left.reduce((bytes, { size }) => bytes + size, 0);
    while (sum > this.#mostBytes) {
      const oldest = this.#left.shift();
      sum -= oldest.size;
      drop(oldest);
    }
    forget(after(() => this.#expire(file), KEPT_MS));
  }

  #expire(file) {
    const at = this.#left.indexOf(file);
    if (at >= 0) this.#left.splice(at, 1);
    drop(file);
  }
}

/** What a request may store at most; 0 for one that stores nothing. */
function announced({ headers }, most) {
  if (!/^multipart\/form-data\b/i.test(headers['content-type'] ?? '')) return 0;
  const length = Number(headers['content-length'] ?? most);
  return Number.isFinite(length) ? Math.min(Math.max(length, 1), most) : most;
}

/** The plugin may have taken it. */
function drop({ path }) {
  unlink(path).catch(() => {});
}

function tooMany() {
  return Object.assign(new Error('Too many files are being sent at once'), { status: 429 });
}
