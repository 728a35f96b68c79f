import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cut, described, inShort } from './errors.mjs';
import { parse } from './kept.mjs';
import { Syntax } from './syntax.mjs';

const ID = /^[a-z0-9_-]+$/;
const INDEXES = ['index.js', 'index.cjs', 'index.mjs'];

/**
 * The first of the files that a plugin can be in which is one, with its routes registered: `{ info, exit, router }`. Each gets
 * a router of its own, so that nothing is left of those before it.
 */
export async function load({ file, kind }, newRouter) {
  const syntax = new Syntax();
  const folder = kind === 'file' ? dirname(file) : file;
  const start = (path) =>
    started(path, newRouter).catch(async (error) => {
      throw await syntax.located(error, path, folder);
    });
  try {
    return kind === 'file' ? await start(file) : await startFirst(file, start);
  } finally {
    syntax.close();
  }
}

async function startFirst(folder, start) {
  const failures = [];
  const tried = new Set();
  for (const { path, label, error } of candidates(folder)) {
    if (tried.has(path)) continue;
    tried.add(path);
    try {
      if (error !== undefined) throw error;
      return await start(path);
    } catch (error) {
      failures.push({ label, error, isThere: path !== null && existsSync(path) });
    }
  }
  throw summed(failures, basename(folder));
}

function candidates(folder) {
  const indexes = INDEXES.map((name) => ({ path: join(folder, name), label: name }));
  const all = indexes.filter(({ path }) => existsSync(path));
  try {
    const main = mainOf(folder);
    return main === null
      ? all
      : [{ path: join(folder, main), label: `package.json, main ${JSON.stringify(main)}` }, ...all];
  } catch (error) {
    return [{ path: null, label: 'package.json', error }, ...all];
  }
}

function mainOf(folder) {
  const manifest = join(folder, 'package.json');
  if (!existsSync(manifest)) return null;
  const main = parse(readFileSync(manifest, 'utf8'))?.main;
  if (main === undefined || main === null || main === '') return null;
  if (typeof main !== 'string') throw new TypeError('Its main is not text');
  return main;
}

async function started(path, newRouter) {
  if (!existsSync(path)) throw new Error('There is no such file');
  const module = await import(pathToFileURL(path).href);
  const [info, init, exit] = ['info', 'init', 'exit'].map((name) => module[name] || module.default?.[name]);
  judge(info);
  if (typeof init !== 'function') throw new TypeError('It exports no function init');
  const { id, name, description } = info;
  const router = newRouter();
  await init(router);
  return { info: { id, name, description }, exit: typeof exit === 'function' ? exit : null, router };
}

function judge(info) {
  if (typeof info !== 'object' || info === null) throw new TypeError('It exports no object info');
  for (const key of ['id', 'name', 'description']) {
    if (typeof info[key] !== 'string') throw new TypeError(`Its info.${key} is not text`);
  }
  if (ID.test(info.id)) return;
  const shown = JSON.stringify(cut(info.id, 100));
  throw new TypeError(`Its info.id ${shown} is no id: lower-case letters, digits, _ and - make one`);
}

/** One error of many: what went wrong in the first file that is there, with all that was tried. */
function summed(failures, folder) {
  const told = failures.find(({ isThere }) => isThere) ?? failures[0];
  if (told === undefined) {
    return new Error(
      `There is no plugin in ${JSON.stringify(folder)}: no package.json with a main, and no ${INDEXES.join(', ')}`,
    );
  }
  if (failures.length === 1 && told.isThere) return told.error;
  const list = failures.map(({ label, error }) => `${label}: ${inShort(error)}`).join('; ');
  const { name, message, stack } = described(told.error);
  return { name, message: `${message} (tried ${list})`, stack };
}
