/**
 * Dispatcharr's plugins: folders with a `plugin.py` or `__init__.py`, and with a `plugin.json` that says what they are
 * while none of their code may run. Contract: Dispatcharr `apps/plugins/loader.py`, and for archives `api_views.py`. What
 * is not to be read as a manifest makes a plugin without one, never a refusal; its author is warned.
 */
import { basename, dirname } from 'node:path';
import type { Plugin, Verdict } from '../core/plugin.ts';
import { portrayed } from '../core/portrayal.ts';
import { Warnings } from '../core/warnings.ts';
import { asksOf } from './asks.ts';
import type { ManifestDialect, ManifestSource } from './dialect.ts';
import { checkedId } from './id.ts';
import { objectIn } from './json.ts';
import { Refused } from './refused.ts';

const MANIFEST = 'plugin.json';

export const dispatcharr: ManifestDialect = {
  name: 'dispatcharr',
  folder: 'dispatcharr',
  expected: 'a Dispatcharr plugin, a folder with plugin.py or __init__.py in it',
  isManifest: (fileName) => fileName === MANIFEST,
  folders: { code: ['plugin.py', '__init__.py'], manifest: MANIFEST, inArchive: 'best', idFrom },
  module: import.meta.url,
  load,
};

export function load(source: ManifestSource): Verdict {
  const { path, id } = source;
  // Whatever a folder of an archive was called, its host unpacks it to one that is called like the plugin.
  const folder = id ?? basename(dirname(path));
  try {
    const key = id ?? checkedId(folder.replaceAll(' ', '_').toLowerCase(), 'folder');
    return { ok: true, plugin: pluginOf(key, folder, source) };
  } catch (error) {
    if (error instanceof Refused) return { ok: false, refusal: error.toRefusal(source.file) };
    throw error;
  }
}

function pluginOf(id: string, folder: string, source: ManifestSource): Plugin {
  const { path, realDir = dirname(path) } = source;
  const asks = asksOf(source);
  const warnings = new Warnings();
  const warn = (sentence: string) => warnings.add(`${MANIFEST}: ${sentence}`);
  const manifest = objectIn(source, warn);
  const portrait = manifest === null ? null : portrayed(manifest, warn);
  return {
    id,
    dialect: 'dispatcharr',
    name: portrait?.name ?? '',
    description: portrait?.description || null,
    url: portrait?.helpUrl || null,
    version: portrait?.version || null,
    dir: dirname(path),
    realDir,
    manifestFile: path,
    folder,
    program: { runtime: 'python' },
    // Its actions are known from the portrait, which may be another one when its code has told its own.
    entries: [],
    settings: [],
    ui: null,
    errLog: null,
    portrait,
    ...(warnings.all.length > 0 ? { warnings: warnings.all } : {}),
    ...(asks === undefined ? {} : { asks }),
  };
}

const ID_LETTERS = 128;

function idFrom(name: string): string {
  const plain = basename(name)
    .toLowerCase()
    .replace(/[^a-z0-9_]/gu, '_');
  return plain.replace(/^_+|_+$/g, '').slice(0, ID_LETTERS) || 'plugin';
}
