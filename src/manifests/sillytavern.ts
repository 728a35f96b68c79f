/**
 * SillyTavern's server plugins: folders with an `index.js`, or with a `package.json` whose `main` is anything, and single
 * files beside them. What they are called is known when their code has run; until then `package.json` tells people, if it
 * can be read. Contract: SillyTavern `src/plugin-loader.js`.
 */
import { basename, dirname } from 'node:path';
import type { Plugin, Verdict } from '../core/plugin.ts';
import type { Portrait } from '../core/portrait.ts';
import { portrayed } from '../core/portrayal.ts';
import { RESERVED_ADDRESSES } from '../core/serving.ts';
import { Warnings } from '../core/warnings.ts';
import { asksOf } from './asks.ts';
import type { ManifestDialect, ManifestSource } from './dialect.ts';
import { checkedId } from './id.ts';
import { isMapping, objectIn } from './json.ts';
import { quoted, Refused } from './refused.ts';

const MANIFEST = 'package.json';

export const sillytavern: ManifestDialect = {
  name: 'sillytavern',
  folder: 'sillytavern',
  expected:
    'a SillyTavern server plugin, a folder with index.js, index.cjs or index.mjs, or with a package.json that has a main',
  isManifest: (fileName) => fileName === MANIFEST,
  folders: {
    code: ['index.js', 'index.cjs', 'index.mjs'],
    manifest: MANIFEST,
    namesCode: (manifest) => isText(objectIn({ bytes: manifest })?.main),
    files: ['.js', '.cjs', '.mjs'],
    inArchive: 'nearest',
    isCommon: true,
    idFrom: (name) => spelled(released(basename(name))).slice(0, ID_LETTERS),
  },
  module: import.meta.url,
  load,
};

export function load(source: ManifestSource): Verdict {
  try {
    const name = basename(source.path);
    return { ok: true, plugin: name === MANIFEST ? folderOf(source) : fileOf(source, name) };
  } catch (error) {
    if (error instanceof Refused) return { ok: false, refusal: error.toRefusal(source.file) };
    throw error;
  }
}

function folderOf(source: ManifestSource): Plugin {
  const folder = checkedId(folderNameOf(source), 'folder');
  const warnings = new Warnings();
  const portrait = portraitIn(objectIn(source, (sentence) => warnings.add(`${MANIFEST}: ${sentence}`)));
  return {
    ...pluginOf(idOf(source.id ?? folder, 'folder'), source),
    name: portrait?.name ?? '',
    description: portrait?.description || null,
    url: portrait?.helpUrl || null,
    version: portrait?.version || null,
    folder,
    portrait,
    ...(warnings.all.length > 0 ? { warnings: warnings.all } : {}),
  };
}

/** Of an archive it is what the folder was called where that came from, if that is what it was installed as. */
function folderNameOf({ path, id }: ManifestSource): string {
  const name = basename(dirname(path));
  if (id === undefined) return name;
  const plain = released(name);
  return spelled(plain) === id ? plain : id;
}

function fileOf(source: ManifestSource, file: string): Plugin {
  const id = idOf(checkedId(file, 'file').slice(0, file.lastIndexOf('.')), 'file');
  return { ...pluginOf(id, source), program: { runtime: 'node', file } };
}

function pluginOf(id: string, source: ManifestSource): Plugin {
  const { path, realDir = dirname(path) } = source;
  const asks = asksOf(source);
  return {
    id,
    dialect: 'sillytavern',
    name: '',
    description: null,
    url: null,
    version: null,
    dir: dirname(path),
    realDir,
    manifestFile: path,
    program: { runtime: 'node', file: null },
    entries: [],
    settings: [],
    ui: null,
    errLog: null,
    portrait: null,
    ...(asks === undefined ? {} : { asks }),
  };
}

// ── package.json ──────────────────────────────────────────────────────────────────────────────────────────────────

function portraitIn(manifest: Record<string, unknown> | null): Portrait | null {
  if (manifest === null) return null;
  const { name, version, description, author, homepage } = manifest;
  // npm takes a person for a text or an object.
  const person = isMapping(author) ? author.name : author;
  return portrayed({ name, version, description, author: person, help_url: isLink(homepage) ? homepage : '' });
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== '';
}

function isLink(value: unknown): boolean {
  return typeof value === 'string' && /^https?:\/\//i.test(value);
}

// ── ids ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const ID_LETTERS = 128;

function idOf(name: string, called: 'file' | 'folder'): string {
  const id = spelled(name);
  if (!/[a-z0-9]/.test(id)) {
    throw new Refused(
      null,
      `a plugin id is made of a-z, 0-9, _ and -, and ${quoted(name)} gives none; rename the ${called}`,
    );
  }
  if (RESERVED_ADDRESSES.includes(id)) {
    throw new Refused(null, `${quoted(id)} is reserved, as /api/plugins/${id}/ is another API's; rename the ${called}`);
  }
  return id;
}

function spelled(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9_-]/gu, '-');
}

/** Archives of GitHub are called like the branch, the version or the commit that they are of, as well. */
function released(name: string): string {
  return name.replace(/(?<=.)-(?:main|master|release|staging|v?\d+(?:\.\d+)+|[0-9a-f]{40})$/i, '');
}
