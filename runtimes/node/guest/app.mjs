import { Buffer } from 'node:buffer';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { asError } from './errors.mjs';
import { parse, stringify } from './kept.mjs';
import { Uploads } from './uploads.mjs';

const USERS_KNOWN = 200;
const USERS_MOST = 1_000;

/** Express as the plugin finds it, and what stands before and behind its routes. */
export class Application {
  #modules;
  #bodyBytes;
  #user;
  /** Those who come again, by what is said of them. */
  #users = new Map();
  #finalHandler;
  #uploads;
  #dataRoot;
  #settled = new Set();
  express;

  constructor({ modules, bodyBytes, user, dataRoot }) {
    this.#modules = modules;
    this.#bodyBytes = bodyBytes;
    this.#dataRoot = dataRoot;
    this.#uploads = new Uploads(dataRoot, bodyBytes);
    this.#user = parse(stringify(user));
    const require = createRequire(join(modules, 'express', 'index.js'));
    this.express = require('./index.js');
    this.#finalHandler = require('finalhandler');
    keepRejections(require('./lib/router/layer.js'));
  }

  /**
   * Takes a request. Contract: bodies are parsed, the user is known and a file that came as `avatar` is stored before the
   * plugin sees it. `onFault` is told what the plugin has not dealt with, and answers.
   */
  handler({ info, router }, onFault) {
    const require = createRequire(join(this.#modules, 'express', 'index.js'));
    const bodyParser = require(join(this.#modules, 'body-parser'));
    const limit = this.#bodyBytes;
    const app = this.express();
    app.disable('x-powered-by');
    // Only our front end comes here, and what it says of the caller is so.
    app.set('trust proxy', true);
    app.use(bodyParser.json({ limit }), bodyParser.urlencoded({ extended: true, limit }));
    app.use(this.#identify(), this.#uploads.handler(require(join(this.#modules, 'multer')), isOfPlugin));
    app.use(`/api/plugins/${info.id}`, router);
    return (req, res) => {
      app(req, res, (error) => {
        if (error && !isOfTheCaller(error)) return onFault(asError(error), req);
        if (!error && !res.headersSent) res.setHeader('isopod-verdict', 'unrouted');
        this.#finalHandler(req, res, { env: 'production' })(error);
      });
    };
  }

  /** A user's folders are all there before a plugin hears of the user. */
  async settle({ directories }) {
    if (this.#settled.has(directories.root)) return;
    await this.#refuseMany(directories.root);
    for (const folder of Object.values(directories)) await mkdir(folder, { recursive: true });
    this.#settled.add(directories.root);
  }

  /** Each user has some thirty folders, and whoever names users could name any number. */
  async #refuseMany(root) {
    const isKnown = await stat(root).then(
      () => true,
      () => false,
    );
    if (isKnown || (await readdir(this.#dataRoot)).length < USERS_MOST) return;
    const words = `There are files of ${USERS_MOST} users already, and no more are taken`;
    throw Object.assign(new Error(words), { status: 403, expose: true });
  }

  #identify() {
    return (req, _res, next) => {
      const told = take(req, 'isopod-user');
      const { profile, directories } = told === undefined ? this.#user : this.#userIn(told);
      // Each request has its own, whatever is done to it.
      req.user = { profile: { ...profile }, directories: { ...directories } };
      if (this.#settled.has(directories.root)) return next();
      return this.settle({ directories }).then(() => next(), next);
    };
  }

  #userIn(told) {
    const known = this.#users.get(told);
    if (known !== undefined) return known;
    const user = parse(Buffer.from(told, 'base64url').toString());
    if (this.#users.size >= USERS_KNOWN) this.#users.clear();
    this.#users.set(told, user);
    return user;
  }
}

/** What a request has for the host alone; the plugin does not see it. */
export function take(req, name) {
  const value = req.headers[name];
  delete req.headers[name];
  for (let at = req.rawHeaders.length - 2; at >= 0; at -= 2) {
    if (req.rawHeaders[at].toLowerCase() === name) req.rawHeaders.splice(at, 2);
  }
  return value;
}

/** As its application has it: what is of the caller has a status that says so. */
function isOfTheCaller(error) {
  const status = error.status ?? error.statusCode;
  return Number.isInteger(status) && status >= 400 && status < 500;
}

/** What was answered in its place is not: no route took the request, or it failed at it. */
function isOfPlugin(res) {
  return !res.hasHeader('isopod-verdict');
}

/** Express 4 does not look at what a handler returns: a promise that is rejected would be nobody's. */
function keepRejections(Layer) {
  Layer.prototype.handle_request = function (req, res, next) {
    const { handle } = this;
    if (handle.length > 3) return next();
    attempt(() => handle(req, res, next), next);
  };
  Layer.prototype.handle_error = function (error, req, res, next) {
    const { handle } = this;
    if (handle.length !== 4) return next(error);
    attempt(() => handle(error, req, res, next), next);
  };
}

function attempt(call, next) {
  const fail = (thrown) => next(asError(thrown));
  try {
    const returned = call();
    if (typeof returned?.then === 'function') returned.then(undefined, fail);
  } catch (thrown) {
    fail(thrown);
  }
}
