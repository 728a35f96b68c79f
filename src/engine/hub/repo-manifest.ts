/**
 * What a repository says of itself and its plugins. Everything in it is a stranger's word: what has to be of a shape is
 * looked at, addresses are whole http(s) URLs or left out, and what else there is is passed on as it came. Contract:
 * Dispatcharr `Plugin_repo.md`.
 */
import { isUtf8 } from 'node:buffer';
import { Failure } from '../../core/failure.ts';
import type { Offer } from '../../core/plugin-repo.ts';
import { stripped } from '../../core/text.ts';

export type JsonObject = Record<string, unknown>;

export type RepoManifest = {
  /** Empty where it has none. */
  name: string;
  registryUrl: string;
  /** What addresses of archives, and of everything else, are below; empty where nothing is said. */
  downloads: string;
  metadata: string;
  /** As they came, but for addresses. */
  plugins: readonly Listed[];
};

export type Listed = JsonObject & { slug: string };

const PLUGINS_MOST = 2_000;
const DEEPEST = 100;
const NAME_LETTERS = 255;
const VERSION_LETTERS = 64;
const SLUG = /^[A-Za-z0-9_-]{1,128}$/;

/** The text of bytes that were fetched. Throws `manifest_rejected`. */
export function textOf(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw rejected('it is not UTF-8');
  return bytes.toString().replace(/^\ufeff/, '');
}

/** Of a text that was verified, only what is signed is read. Throws `manifest_rejected`. */
export function readRepo(text: string, verified: boolean | null): RepoManifest {
  const whole = readObject(text);
  const isWrapped = verified === true || (isObject(whole.manifest) && Object.hasOwn(whole.manifest, 'plugins'));
  const manifest = isWrapped ? innerOf(whole) : whole;
  const { plugins } = manifest;
  if (!Array.isArray(plugins)) throw rejected('it has no list "plugins"');
  if (plugins.length > PLUGINS_MOST) throw rejected(`it has more than ${PLUGINS_MOST} plugins`);
  const root = textAt(manifest, 'root_url');
  const bases = {
    downloads: base(textAt(manifest, 'download_base_url') || root),
    metadata: base(textAt(manifest, 'metadata_base_url') || root),
  };
  const registryUrl = base(textAt(manifest, 'registry_url'));
  const icons = { registryUrl, beside: textAt(manifest, 'metadata_base_url') !== '' };
  return {
    name: stripped(textAt(manifest, 'registry_name'), NAME_LETTERS).trim(),
    registryUrl,
    ...bases,
    plugins: plugins.filter(isListed).map((one) => completed(one, bases, icons)),
  };
}

export type DetailOf = Pick<RepoManifest, 'downloads'> & { slug: string; verified: boolean | null };

/**
 * The manifest of a single plugin, with whole addresses. One that is signed says of which it is: else it could be put in
 * the place of another's. Throws `manifest_rejected`.
 */
export function readDetail(text: string, { downloads, slug, verified }: DetailOf): JsonObject {
  const whole = readObject(text);
  const manifest = verified === true || isObject(whole.manifest) ? innerOf(whole) : whole;
  const own = textAt(manifest, 'slug');
  if (own !== slug && (verified === true || own !== '')) throw rejected(`it is not about the plugin "${slug}"`);
  const { versions, latest } = manifest;
  return {
    ...manifest,
    ...(Array.isArray(versions) ? { versions: versions.map((one) => located(one, ['url'], downloads)) } : {}),
    ...(isObject(latest) ? { latest: located(latest, ['url', 'latest_url'], downloads) } : {}),
  };
}

/** What is remembered of each plugin. */
export function offersOf({ plugins }: Pick<RepoManifest, 'plugins'>): Offer[] {
  return plugins.map((one) => ({
    slug: one.slug,
    version: stripped(textAt(one, 'latest_version'), VERSION_LETTERS) || null,
    deprecated: Boolean(one.deprecated),
  }));
}

/** Whether people could take a name for that of the host's own repository. */
export function soundsOfficial(name: string): boolean {
  const plain = name.normalize('NFKC').toLowerCase().replace(/\s+/g, ' ');
  return ['official', 'dispatcharr plugins', 'dispatcharr repo'].some((one) => plain.includes(one));
}

export function textAt(object: JsonObject, key: string): string {
  const value = Object.hasOwn(object, key) ? object[key] : undefined;
  return typeof value === 'string' ? value : '';
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What is signed of what is wrapped. */
function innerOf({ manifest }: JsonObject): JsonObject {
  if (!isObject(manifest)) throw rejected('it has no "manifest"');
  return manifest;
}

function readObject(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw rejected('it is no JSON');
  }
  if (!isObject(value)) throw rejected('it is no JSON object');
  if (isDeeper(value, DEEPEST)) throw rejected(`it is nested deeper than ${DEEPEST} levels`);
  return value;
}

function isDeeper(value: unknown, most: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return most === 0 || Object.values(value).some((one) => isDeeper(one, most - 1));
}

function isListed(one: unknown): one is Listed {
  return isObject(one) && SLUG.test(textAt(one, 'slug'));
}

type Bases = Pick<RepoManifest, 'downloads' | 'metadata'>;

function completed(
  one: Listed,
  { downloads, metadata }: Bases,
  icons: { registryUrl: string; beside: boolean },
): Listed {
  const listed = located(located(one, ['manifest_url', 'icon_url'], metadata), ['latest_url'], downloads) as Listed;
  const icon = textAt(listed, 'icon_url') || iconOf(listed, icons);
  return icon === '' ? listed : { ...listed, icon_url: icon };
}

/** Where the logo is by custom: beside the manifest of the plugin, or in the sources on GitHub. */
function iconOf(listed: Listed, { registryUrl, beside }: { registryUrl: string; beside: boolean }): string {
  const manifest = textAt(listed, 'manifest_url');
  if (beside && manifest !== '') return `${manifest.slice(0, manifest.lastIndexOf('/'))}/logo.png`;
  if (registryUrl === '') return '';
  const sources = registryUrl.replace(/^https:\/\/github\.com\//, 'https://raw.githubusercontent.com/');
  return `${sources}/refs/heads/main/plugins/${listed.slug}/logo.png`;
}

/** With these addresses whole; without those that lead nowhere. */
function located<T>(value: T, keys: readonly string[], below: string): T {
  if (!isObject(value)) return value;
  const all = new Map(Object.entries(value));
  for (const key of keys) {
    const whole = address(textAt(value, key), below);
    if (whole === undefined) all.delete(key);
    else all.set(key, whole);
  }
  return Object.fromEntries(all) as T;
}

function address(text: string, below: string): string | undefined {
  if (text === '') return undefined;
  const whole = /^https?:\/\//.test(text) || below === '' ? text : `${below}/${text}`;
  return URL.canParse(whole) && /^https?:\/\//.test(whole) ? whole : undefined;
}

function base(text: string): string {
  return (address(text, '') ?? '').replace(/\/+$/, '');
}

export function rejected(why: string): Failure {
  return new Failure('manifest_rejected', `This is no manifest of a repository: ${why}`);
}
