/** Which plugins an archive holds: all of a format whose plugins are manifests, or the one folder that is a plugin. */
import { basename, extname, join } from 'node:path';
import { Failure } from '../core/failure.ts';
import type { Dialect, Plugin, Refusal, Verdict } from '../core/plugin.ts';
import { folded } from '../core/text.ts';
import type { FolderForm, ManifestDialect, ManifestSource } from '../manifests/dialect.ts';
import type { ManifestReader } from '../manifests/reader.ts';
import { DISCOVERY_LIMITS, discover, type Found } from '../packages/discovery.ts';
import { readManifestFile } from '../packages/manifest-file.ts';
import { pluginFolderOf, readPluginFolder } from '../packages/plugin-folders.ts';
import { shown } from '../packages/rejected.ts';
import type { Fresh } from '../packages/unpack-cache.ts';
import type { PackagedPlugin } from '../store/packages.ts';

export type Packaged = PackagedPlugin & { described: Plugin };

export type ArchiveReading = {
  dialects: readonly ManifestDialect[];
  reader: ManifestReader;
  /** Of this format only. */
  dialect?: Dialect | undefined;
  /** What the archive is called: a plugin that lies at its top has no other name. */
  name?: string | undefined;
};

type Reading = { packaged: Packaged[]; refused: Refusal[] };

/**
 * All plugins in the archive. Formats whose plugins are manifests go first: a plugin of theirs may have any file in its
 * folder. What is only a bad manifest of theirs stands in nobody's way where there is a folder that has a manifest of its
 * own, or where it lies where none would be: in a folder that is hidden, or was brought along. Throws `package_rejected` and `manifest_rejected`.
 */
export async function pluginsIn(
  fresh: Fresh,
  { dialects, reader, dialect, name }: ArchiveReading,
): Promise<Packaged[]> {
  const asked = dialects.filter((one) => dialect === undefined || one.name === dialect);
  const found = await manifestsIn(
    fresh,
    asked.filter(({ folders }) => folders === undefined),
    reader,
  );
  if (found.packaged.length === 0) {
    const isDoubtful = found.refused.some(({ file }) => !isAside(file));
    for (const one of asked) {
      const folder = one.folders === undefined ? null : await folderIn(fresh, one.folders);
      if (folder === null || (isDoubtful && !folder.isCertain)) continue;
      return [await pluginOf(fresh, one, { ...folder, name, reader })];
    }
  }
  if (found.refused.length > 0) throw manifestsRejected(found.refused);
  if (found.packaged.length === 0) {
    const expected = asked.map((one) => one.expected).join(', or ');
    const words = `There is no plugin in the archive. It must hold ${expected}${loneFile(fresh, asked)}`;
    throw new Failure('package_rejected', words, { rejection: 'no plugin' });
  }
  assertNoTwins(found.packaged);
  return found.packaged;
}

/** What is a plugin where it lies beside others is none in an archive, which goes nowhere but into a folder. */
function loneFile({ tree: { files } }: Fresh, dialects: readonly ManifestDialect[]): string {
  const [only, ...others] = files;
  if (only === undefined || others.length > 0) return '';
  const ending = extname(only.path);
  const dialect = dialects.find(({ folders }) => folders?.files?.includes(ending));
  if (dialect === undefined) return '';
  const name = shown(basename(only.path));
  return `. A single file like ${name} is one only in the folder ${dialect.folder} of ISOPOD_PLUGINS_DIR: in an archive, call it index${ending}`;
}

async function manifestsIn(
  { dir }: Fresh,
  dialects: readonly ManifestDialect[],
  reader: ManifestReader,
): Promise<Reading> {
  const all: Reading = { packaged: [], refused: [] };
  let manifests = 0;
  for (const dialect of dialects) {
    const whole = await discover({ pluginsDir: dir, folder: '.', isManifest: dialect.isManifest });
    const found = whole.length > PLUGINS_MOST ? whole.filter((one) => !isAside(fileOf(one))) : whole;
    manifests += found.length;
    if (manifests > PLUGINS_MOST) throw tooManyPlugins(manifests);
    const sources = found.flatMap((one) => (one.ok ? [one] : []));
    const verdicts = await reader.read(dialect, sources);
    for (const one of found) if (!one.ok) all.refused.push(one.refusal);
    for (const [at, source] of sources.entries()) {
      const verdict = verdicts[at] as Verdict;
      if (verdict.ok) all.packaged.push(packagedOf(verdict.plugin, source.file));
      else all.refused.push(verdict.refusal);
    }
  }
  return all;
}

/** Whether it lies where nobody has put it as a plugin. */
function isAside(file: string): boolean {
  return file.split('/').some((part) => part.startsWith('.') || part === 'node_modules');
}

function fileOf(one: Found): string {
  return one.ok ? one.file : one.refusal.file;
}

function packagedOf(described: Plugin, manifest: string): Packaged {
  return { plugin: described.id, dialect: described.dialect, manifest, described };
}

function assertNoTwins(packaged: readonly Packaged[]): void {
  const ids = new Map<string, Packaged>();
  for (const one of packaged) {
    const other = ids.get(folded(one.plugin));
    const words = `the archive has a plugin of the id ${JSON.stringify(one.plugin)} twice (case does not matter)`;
    if (other !== undefined) {
      throw manifestsRejected([
        { file: one.manifest, line: null, column: null, reason: `${words}: ${other.manifest}` },
      ]);
    }
    ids.set(folded(one.plugin), one);
  }
}

// ── folders ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** `isCertain`: it has a manifest, and no folder of another format has one that is called so. */
type Folder = { form: FolderForm; path: string; manifest: string; isCertain: boolean };

async function folderIn({ dir, tree: { files } }: Fresh, form: FolderForm): Promise<Folder | null> {
  const path = await pluginFolderOf(files, form, (file) =>
    readManifestFile(join(dir, file), DISCOVERY_LIMITS.manifestBytes).catch(() => NOTHING),
  );
  if (path === undefined) return null;
  const manifest = join(path, form.manifest);
  const isCertain = form.isCommon !== true && files.some((file) => file.path === manifest);
  return { form, path, manifest, isCertain };
}

const NOTHING = new Uint8Array(0);

/** Its row names the manifest, whether that is there or not: so the folder is known. */
async function pluginOf(
  { dir }: Fresh,
  dialect: ManifestDialect,
  { form, path, manifest, name, reader }: Folder & { name: string | undefined; reader: ManifestReader },
): Promise<Packaged> {
  const called = path === '.' ? withoutEnding(name) : path.slice(path.lastIndexOf('/') + 1);
  if (called === undefined) throw nameless();
  const source: ManifestSource = {
    file: manifest,
    path: join(dir, manifest),
    id: form.idFrom(called),
    ...(await readPluginFolder(join(dir, path), form.manifest)),
  };
  const [verdict] = await reader.read(dialect, [source]);
  if (verdict?.ok !== true) throw manifestsRejected(verdict === undefined ? [] : [verdict.refusal]);
  return packagedOf(verdict.plugin, manifest);
}

function withoutEnding(name: string | undefined): string | undefined {
  return name?.replace(/(?<=.)\.[^./]*$/s, '');
}

function nameless(): Failure {
  const words =
    'The plugin lies at the top of the archive and has no name: put it into a folder of its name, or send the name of the archive as "Content-Disposition: attachment; filename=<name>.zip"';
  return new Failure('package_rejected', words);
}

// ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** Of one archive. Each costs rows, a manifest that is read again and again, and a place in lists. */
const PLUGINS_MOST = 100;

function tooManyPlugins(observed: number): Failure {
  const limit = { name: 'plugins', allowed: PLUGINS_MOST, observed, unit: 'count' } as const;
  return new Failure('package_rejected', `The archive has ${observed} plugins, and may have ${PLUGINS_MOST}`, {
    limit,
  });
}

const REFUSALS_MOST = 20;

function manifestsRejected(refused: readonly Refusal[]): Failure {
  const where = refused.slice(0, REFUSALS_MOST).map(({ file, line, column, reason }) => ({
    at: [file, line, column].filter((part) => part !== null).join(':'),
    problem: reason,
  }));
  const [first] = where;
  const more = refused.length > 1 ? ` (and ${refused.length - 1} more)` : '';
  return new Failure('manifest_rejected', `${first?.at}: ${first?.problem}${more}`, { where });
}
