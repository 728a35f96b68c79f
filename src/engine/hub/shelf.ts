/**
 * What a tenant has of what its repositories offer, in the words of the host. Contract: Dispatcharr
 * `apps/plugins/api_views.py`.
 */
import type { PluginRepo } from '../../core/plugin-repo.ts';
import type { PluginSource } from '../../core/store.ts';
import { type JsonObject, type RepoManifest, textAt } from './repo-manifest.ts';

/** What its repository says by now of a plugin that came from it. */
export type Origin = {
  name: string;
  isOfficial: boolean;
  /** The newest there is; null where that is not known. */
  latestVersion: string | null;
  updateAvailable: boolean;
  isDeprecated: boolean;
};

/** Undefined where the repository is gone, or no longer has it. */
export function originOf(repos: readonly PluginRepo[], source: PluginSource): Origin | undefined {
  const repo = repos.find(({ id }) => id === source.repo);
  const offer = repo?.offers.find(({ slug }) => slug === source.slug);
  if (repo === undefined || offer === undefined) return undefined;
  return {
    name: repo.name,
    isOfficial: repo.isOfficial,
    latestVersion: offer.version,
    updateAvailable: isOutdated(source.version, offer.version, source.isPrerelease),
    isDeprecated: offer.deprecated,
  };
}

/** A plugin that is there. */
export type Possession = { key: string; version: string; source: PluginSource | null };

export type Shelf = { repos: readonly PluginRepo[]; has: readonly Possession[]; keyOf(slug: string): string };

/** What one repository offers, each with what the tenant has of it. */
export function offered(repo: PluginRepo, { plugins }: RepoManifest, { repos, has, keyOf }: Shelf): JsonObject[] {
  const plain = (slug: string) => slug.replaceAll('-', '_');
  const managed = has.flatMap(({ source, ...one }) =>
    source === null || originOf(repos, source) === undefined ? [] : [{ ...one, source }],
  );
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

type Owned = Possession & { source: PluginSource };

function statusOf({ id }: PluginRepo, latest: string, own: Owned | undefined, other: Possession | undefined) {
  if (own === undefined) return other === undefined ? 'not_installed' : 'unmanaged';
  if (own.source.repo !== id) return 'different_repo';
  return isOutdated(own.source.version, latest, own.source.isPrerelease) ? 'update_available' : 'installed';
}

/** Another version is a newer one: what was withdrawn is to be replaced, too. */
function isOutdated(installed: string, latest: string | null, isPrerelease: boolean): boolean {
  return Boolean(installed && latest) && installed !== latest && !isPrerelease;
}
