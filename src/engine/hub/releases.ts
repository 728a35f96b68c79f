/** What a repository says of single releases: of the newest in its manifest, of others in that of the plugin. */
import { Failure } from '../../core/failure.ts';
import type { PluginRepo } from '../../core/plugin-repo.ts';
import type { Store } from '../../store/store.ts';
import type { Notary } from './notary.ts';
import {
  isObject,
  type JsonObject,
  type Listed,
  type RepoManifest,
  readDetail,
  readRepo,
  textAt,
  textOf,
} from './repo-manifest.ts';
import { isTrusted } from './repositories.ts';
import type { VersionLimits } from './versions.ts';
import type { Visits } from './visits.ts';

export type ReleasesOptions = {
  store: Pick<Store, 'of'>;
  visits: Visits;
  notary: Pick<Notary, 'verify'>;
};

/** What is asked for: an address, as the repository has it. */
export type ReleaseWish = { slug: string; version: string; url: string };
/** What has to be so of the archive at that address; empty where nothing is said. */
export type Release = VersionLimits & { sha256: string };
export type Detail = { manifest: JsonObject; verified: boolean | null };

const DETAIL = { bytes: 512 * 1024, ms: 15_000 };
const KEPT_MS = 300_000;
const KEPT_MOST = 32;

export class Releases {
  readonly #options: ReleasesOptions;
  /** Details that were asked for lately, the oldest first. */
  readonly #kept = new Map<string, { detail: Detail; until: number }>();

  constructor(options: ReleasesOptions) {
    this.#options = options;
  }

  /** The manifest of a plugin, at an address that its repository names. Throws `invalid_request` and `source_failed`. */
  async detail(tenant: string, repo: PluginRepo, url: string, signal: AbortSignal): Promise<Detail> {
    const manifest = await this.#manifest(tenant, repo);
    const listed = manifest.plugins.find((one) => isSame(textAt(one, 'manifest_url'), url));
    if (listed === undefined) {
      throw new Failure('invalid_request', 'The repository names no such manifest of a plugin');
    }
    return await this.#detail(tenant, { repo, manifest, slug: listed.slug, url }, signal);
  }

  /** Throws `invalid_request` where the repository does not offer it, and what `detail` does. */
  async find(tenant: string, repo: PluginRepo, wish: ReleaseWish, signal: AbortSignal): Promise<Release> {
    if (!isTrusted(repo)) {
      throw new Failure('invalid_request', 'What this repository says is not signed with the key that is set for it');
    }
    const manifest = await this.#manifest(tenant, repo);
    const listed = manifest.plugins.find(({ slug }) => slug === wish.slug);
    if (listed === undefined) throw notOffered();
    const newest = newestOf(listed);
    if (isMeant(newest, wish)) return tied(repo, newest);
    const url = textAt(listed, 'manifest_url');
    if (url === '') throw notOffered();
    const detail = await this.#detail(tenant, { repo, manifest, slug: listed.slug, url }, signal);
    if (!isTrusted({ publicKey: repo.publicKey, verified: detail.verified })) {
      throw new Failure(
        'invalid_request',
        'What says so of older versions is not signed with the key that is set for it',
      );
    }
    return tied(repo, releasesIn(detail.manifest).find((one) => isMeant(one, wish)) ?? notOffered());
  }

  async #manifest(tenant: string, { id, verified }: PluginRepo): Promise<RepoManifest> {
    const text = (await this.#options.store.of(tenant).pluginRepos.manifests([id])).get(id);
    if (text === undefined) throw new Failure('not_found', 'There is no such repository');
    return readRepo(text, verified);
  }

  async #detail(
    tenant: string,
    { repo, manifest, slug, url }: { repo: PluginRepo; manifest: RepoManifest; slug: string; url: string },
    signal: AbortSignal,
  ): Promise<Detail> {
    const { visits, notary } = this.#options;
    // Whatever happens to the repository, it is asked for anew.
    const name = [tenant, repo.id, repo.createdAt.getTime(), repo.updatedAt.getTime(), slug, url].join(' ');
    const kept = this.#kept.get(name);
    if (kept !== undefined && kept.until > performance.now()) return kept.detail;
    const text = textOf(await visits.fetch(tenant, { url, ...DETAIL }, signal));
    const { publicKey } = repo;
    const verified = publicKey === '' ? null : await notary.verify({ text, publicKey });
    const detail = { manifest: readDetail(text, { ...manifest, slug, verified }), verified };
    this.#kept.delete(name);
    this.#kept.set(name, { detail, until: performance.now() + KEPT_MS });
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= KEPT_MOST) break;
      this.#kept.delete(oldest);
    }
    return detail;
  }
}

type Offered = Release & { version: string; url: string };

function newestOf(listed: Listed): Offered {
  return {
    ...limitsOf(listed),
    version: textAt(listed, 'latest_version'),
    url: textAt(listed, 'latest_url'),
    sha256: textAt(listed, 'latest_sha256'),
  };
}

function releasesIn({ versions, latest }: JsonObject): Offered[] {
  const all = [...(Array.isArray(versions) ? versions : []), latest].filter(isObject);
  return all.map((one) => ({
    ...limitsOf(one),
    version: textAt(one, 'version'),
    url: textAt(one, 'url') || textAt(one, 'latest_url'),
    sha256: textAt(one, 'checksum_sha256') || textAt(one, 'sha256'),
  }));
}

function limitsOf(one: JsonObject): VersionLimits {
  return { min: textAt(one, 'min_dispatcharr_version'), max: textAt(one, 'max_dispatcharr_version') };
}

function isMeant(one: Offered, wish: ReleaseWish): boolean {
  return isSame(one.url, wish.url) && (one.version === '' || one.version === wish.version);
}

function isSame(one: string, other: string): boolean {
  const [a, b] = [URL.parse(one), URL.parse(other)];
  return a !== null && b !== null && a.href === b.href;
}

/** Where a key is set, the archive is tied to what is signed with it, and that is by its hash alone. */
function tied({ publicKey }: PluginRepo, release: Offered): Offered {
  if (publicKey === '' || SHA256.test(release.sha256.trim())) return release;
  throw new Failure('invalid_request', 'The repository is signed, but says no SHA-256 of the archive of this version');
}

const SHA256 = /^[0-9a-f]{64}$/i;

function notOffered(): never {
  throw new Failure('invalid_request', 'The repository does not offer this version at this address');
}
