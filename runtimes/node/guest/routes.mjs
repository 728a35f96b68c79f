import { cut } from './errors.mjs';

const ROUTES_MOST = 500;
const PATH_MOST = 500;

/** Express keeps where a router was mounted as a regular expression alone; here it is remembered as it was said. */
export class Mounts {
  #paths = new WeakMap();

  constructor(express) {
    const paths = this.#paths;
    const { use } = express.Router;
    express.Router.use = function (...args) {
      const before = this.stack.length;
      const used = use.apply(this, args);
      const path = isPath(args[0]) ? args[0] : '/';
      for (const layer of this.stack.slice(before)) paths.set(layer, path);
      return used;
    };
  }

  /** All that was registered, as `{ method, path }`. */
  routesOf(router) {
    const routes = [];
    this.#walk(router, '', routes, new Set());
    return routes.slice(0, ROUTES_MOST);
  }

  #walk(router, prefix, routes, within) {
    if (within.has(router)) return;
    within.add(router);
    for (const layer of router.stack) {
      if (routes.length >= ROUTES_MOST) break;
      if (layer.route !== undefined) {
        for (const path of pathsOf(layer.route.path)) {
          for (const method of methodsOf(layer.route)) routes.push({ method, path: joined(prefix, path) });
        }
        continue;
      }
      for (const path of pathsOf(this.#paths.get(layer) ?? layer.regexp)) {
        const inner = routerOf(layer.handle);
        if (inner !== null) this.#walk(inner, joined(prefix, path), routes, within);
        else routes.push({ method: 'USE', path: joined(prefix, path) });
      }
    }
    within.delete(router);
  }
}

/** Of a handler that is a router, or an application of its own. */
function routerOf(handle) {
  return [handle, handle?._router].find((one) => Array.isArray(one?.stack)) ?? null;
}

function isPath(value) {
  if (Array.isArray(value)) return value.length > 0 && isPath(value[0]);
  return typeof value === 'string' || value instanceof RegExp;
}

function pathsOf(path) {
  return Array.isArray(path) ? path.flat(8) : [path];
}

function methodsOf({ methods }) {
  return methods._all ? ['*'] : Object.keys(methods).map((method) => method.toUpperCase());
}

function joined(prefix, path) {
  const text = cut(String(path), PATH_MOST);
  if (prefix === '' || prefix === '/') return text;
  return text === '/' ? prefix : cut(prefix + (text.startsWith('/') ? '' : '/') + text, PATH_MOST);
}
