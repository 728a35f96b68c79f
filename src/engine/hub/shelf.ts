/**
 * What a tenant has of what its repositories offer, in the words of the host. Contract: Dispatcharr
 * `apps/plugins/api_views.py`.
 */
import type { PluginRepo } from '../../core/plugin-repo.ts';
import type { KnownPlugin } from '../../core/store.ts';
import { type JsonObject, type RepoManifest, textAt } from './repo-manifest.ts';

/** Where a plugin came from, and whether there is a newer one. */
export type Managed = {
  source_repo: number | null;
  source_repo_name: string | null;
  is_official_repo: boolean;
  slug: string;
  is_managed: boolean;
  installed_version_is_prerelease: boolean;
  update_available: boolean;
  latest_version: string | null;
  deprecated: boolean;
};

const UNMANAGED: Managed = Object.freeze({
  source_repo: null,
  source_repo_name: null,
  is_official_repo: false,
  slug: '',
  is_managed: false,
  installed_version_is_prerelease: false,
  update_available: false,
  latest_version: null,
  deprecated: false,
});

/** What a repository no longer has, or that came from one that is gone, came from nowhere. */
export function managedOf(
  repos: readonly PluginRepo[],
  known: Pick<KnownPlugin, 'source'> | null | undefined,
): Managed {
  const source = known?.source ?? null;
  const repo = source === null ? undefined : repos.find(({ id }) => id === source.repo);
  const offer = repo?.offers.find(({ slug }) => slug === source?.slug);
  if (source === null || repo === undefined || offer === undefined) return UNMANAGED;
  return {
    source_repo: repo.id,
    source_repo_name: repo.name,
    is_official_repo: repo.isOfficial,
    slug: source.slug,
    is_managed: true,
    installed_version_is_prerelease: source.isPrerelease,
    update_available: isOutdated(source.version, offer.version, source.isPrerelease),
    latest_version: offer.version,
    deprecated: offer.deprecated,
  };
}

/** A plugin that is there. */
export type Possession = { key: string; version: string; source: KnownPlugin['source'] };

export type Shelf = { repos: readonly PluginRepo[]; has: readonly Possession[]; keyOf(slug: string): string };

/** What one repository offers, each with what the tenant has of it. */
export function offered(repo: PluginRepo, { plugins }: RepoManifest, { repos, has, keyOf }: Shelf): JsonObject[] {
  const plain = (slug: string) => slug.replaceAll('-', '_');
  const managed = has.flatMap((one) => {
    const { is_managed: isManaged } = managedOf(repos, one);
    return isManaged && one.source !== null ? [{ ...one, source: one.source }] : [];
  });
  const bySlug = new Map(managed.map((one) => [plain(one.source.slug), one]));
  const byKey = new Map(has.map((one) => [plain(one.key), one]));
  return plugins.map((listed) => {
    const key = keyOf(listed.slug);
    const own = bySlug.get(plain(listed.slug));
    const other = byKey.get(key);
    const status = statusOf(repo, textAt(listed, 'latest_version'), own, other);
    return {
      ...listed,
      repo_id: repo.id,
      repo_name: repo.name,
      is_official_repo: repo.isOfficial,
      signature_verified: repo.verified,
      installed: status !== 'not_installed',
      installed_version: own?.source.version ?? other?.version ?? null,
      installed_version_is_prerelease: own?.source.isPrerelease ?? false,
      install_status: status,
      key,
      ...(status === 'different_repo'
        ? { installed_source_repo_name: repos.find(({ id }) => id === own?.source.repo)?.name ?? null }
        : {}),
    };
  });
}

type Owned = Possession & { source: NonNullable<Possession['source']> };

function statusOf({ id }: PluginRepo, latest: string, own: Owned | undefined, other: Possession | undefined) {
  if (own === undefined) return other === undefined ? 'not_installed' : 'unmanaged';
  if (own.source.repo !== id) return 'different_repo';
  return isOutdated(own.source.version, latest, own.source.isPrerelease) ? 'update_available' : 'installed';
}

/** Another version is a newer one: what was withdrawn is to be replaced, too. */
function isOutdated(installed: string, latest: string | null, isPrerelease: boolean): boolean {
  return Boolean(installed && latest) && installed !== latest && !isPrerelease;
}
