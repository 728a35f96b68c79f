/**
 * Repositories of plugins, and what they say by now. Where a key is set for one, only what is signed with it is taken: an
 * older manifest stays until there is a newer one that is fine.
 */
import { Failure } from '../../core/failure.ts';
import type { KeptManifest, PluginRepo } from '../../core/plugin-repo.ts';
import { REFRESH_HOURS_MOST } from '../../core/plugin-repo.ts';
import type { Store } from '../../store/store.ts';
import type { Tenancies } from '../tenancies.ts';
import type { Notary } from './notary.ts';
import { offersOf, type RepoManifest, readRepo, rejected, soundsOfficial, textOf } from './repo-manifest.ts';
import { NotFetchedFailure, type Visits } from './visits.ts';

export type RepositoriesOptions = {
  store: Pick<Store, 'of' | 'duePluginRepos'>;
  tenancies: Pick<Tenancies, 'learn'>;
  visits: Visits;
  notary: Pick<Notary, 'verify'>;
};

/** What a tenant says of a repository. */
export type RepoWish = { url: string; publicKey: string };

export type Preview = {
  /** Null where it could not be fetched or read at all. */
  manifest: RepoManifest | null;
  verified: boolean | null;
  problems: string[];
};

/** The host's own, which may be called so. It is added like any other. */
export const OFFICIAL_URL = 'https://raw.githubusercontent.com/Dispatcharr/Plugins/releases/manifest.json';

const MANIFEST = { bytes: 1024 * 1024, ms: 15_000 };
const URL_LETTERS = 2_000;
const KEY_LETTERS = 65_536;
/** Repositories that are looked at in one go, so many of them side by side. */
const DUE_MOST = 40;
const DUE_AT_ONCE = 4;

export class Repositories {
  readonly #options: RepositoriesOptions;

  constructor(options: RepositoriesOptions) {
    this.#options = options;
  }

  list(tenant: string): Promise<PluginRepo[]> {
    return this.#of(tenant).list();
  }

  /** Throws `not_found`. */
  async get(tenant: string, id: number): Promise<PluginRepo> {
    return (await this.#of(tenant).get(id)) ?? missing();
  }

  /** What would come of adding it. Nothing is kept. */
  async preview(tenant: string, wish: RepoWish, signal: AbortSignal): Promise<Preview> {
    try {
      const { url, publicKey } = judged(wish);
      const { manifest, verified } = await this.#look(tenant, { url, publicKey }, signal);
      const problems = [complaint(manifest, url), unsigned({ publicKey, verified })].filter((one) => one !== null);
      if (await this.#of(tenant).has(url)) problems.push('There is a repository of this URL already');
      return { manifest, verified, problems };
    } catch (error) {
      if (signal.aborted || !(error instanceof Failure) || !TOLD.has(error.code)) throw error;
      return { manifest: null, verified: null, problems: [error.message] };
    }
  }

  /** Throws `invalid_request`, `manifest_rejected`, `source_failed`, `conflict` and `quota_exceeded`. */
  async add(tenant: string, wish: RepoWish, signal: AbortSignal): Promise<PluginRepo> {
    const { url, publicKey } = judged(wish);
    if (await this.#of(tenant).has(url)) throw new Failure('conflict', 'There is a repository of this URL already');
    const manifest = await this.#fetch(tenant, { url, publicKey }, signal);
    return await this.#of(tenant).add({ url, publicKey, isOfficial: url === OFFICIAL_URL, manifest });
  }

  /** With another key, what is kept of it is judged anew at once. Throws `not_found` and `invalid_request`. */
  async change(
    tenant: string,
    id: number,
    change: Partial<Pick<PluginRepo, 'enabled' | 'publicKey'>>,
  ): Promise<PluginRepo> {
    let repo = await this.get(tenant, id);
    const repos = this.#of(tenant);
    if (change.publicKey !== undefined) {
      const publicKey = armored(change.publicKey);
      const text = (await repos.manifests([id])).get(id) ?? missing();
      const verified = await this.#verdict(text, publicKey);
      const rekeyed = await repos.rekey(id, text, { publicKey, verified });
      if (rekeyed === undefined) throw new Failure('conflict', 'The repository was refreshed at the same time');
      repo = rekeyed;
    }
    if (change.enabled !== undefined) repo = (await repos.enable(id, change.enabled)) ?? missing();
    return repo;
  }

  /** What was installed from it stays, as if it had come from nowhere. Throws `not_found`. */
  async remove(tenant: string, id: number): Promise<void> {
    if (!(await this.#of(tenant).remove(id))) missing();
    await this.#disown(tenant, id, []);
  }

  /** What it no longer offers came from nowhere. Throws what `add` does, and `not_found`. */
  async refresh(tenant: string, id: number, signal: AbortSignal): Promise<PluginRepo> {
    const { url, publicKey } = await this.get(tenant, id);
    try {
      const manifest = await this.#fetch(tenant, { url, publicKey }, signal);
      const repo = (await this.#of(tenant).fetched(id, publicKey, manifest)) ?? changed();
      const slugs = repo.offers.map(({ slug }) => slug);
      await this.#disown(tenant, id, slugs);
      return repo;
    } catch (error) {
      if (error instanceof NotFetchedFailure) await this.#of(tenant).missed(id, error.word);
      else if (error instanceof Failure && error.code === 'manifest_rejected') {
        await this.#of(tenant).missed(id, 'rejected');
      }
      throw error;
    }
  }

  refreshHours(tenant: string): Promise<number> {
    return this.#of(tenant).refreshHours();
  }

  /** 0 is never. Gives what it is then. */
  async refreshEvery(tenant: string, hours: number): Promise<number> {
    const within = Math.min(Math.max(Math.trunc(hours), 0), REFRESH_HOURS_MOST);
    await this.#of(tenant).refreshEvery(within);
    return within;
  }

  /** Looks at those of all tenants whose time has come; no two nodes look at the same. Gives how many there were. */
  async refreshDue(now: Date, signal: AbortSignal): Promise<number> {
    const due = await this.#options.store.duePluginRepos.claim(now, DUE_MOST);
    const rest = due.values();
    const some = async () => {
      for (const { tenant, id } of rest) {
        if (signal.aborted) return;
        // What is wrong with it is written down where its tenant sees it.
        await this.refresh(tenant, id, signal).catch((error: unknown) => {
          if (!(error instanceof Failure)) throw error;
        });
      }
    };
    await Promise.all(Array.from({ length: DUE_AT_ONCE }, some));
    return due.length;
  }

  async #fetch(tenant: string, wish: RepoWish, signal: AbortSignal): Promise<KeptManifest> {
    const { text, manifest, verified } = await this.#look(tenant, wish, signal);
    const problem = complaint(manifest, wish.url) ?? unsigned({ ...wish, verified });
    if (problem !== null) throw new Failure('manifest_rejected', problem);
    const { name, registryUrl } = manifest;
    return { name, registryUrl, verified, offers: offersOf(manifest), text };
  }

  async #look(tenant: string, { url, publicKey }: RepoWish, signal: AbortSignal) {
    const text = textOf(await this.#options.visits.fetch(tenant, { url, ...MANIFEST }, signal));
    const verified = await this.#verdict(text, publicKey);
    return { text, manifest: readRepo(text, verified), verified };
  }

  async #verdict(text: string, publicKey: string): Promise<boolean | null> {
    return publicKey === '' ? null : await this.#options.notary.verify({ text, publicKey });
  }

  async #disown(tenant: string, id: number, kept: readonly string[]): Promise<void> {
    const { store, tenancies } = this.#options;
    if (await store.of(tenant).pluginStates.disown(id, kept)) await tenancies.learn(tenant, 'plugin_states');
  }

  #of(tenant: string) {
    return this.#options.store.of(tenant).pluginRepos;
  }
}

/** Whether what a repository says may be acted upon. */
export function isTrusted({ publicKey, verified }: Pick<PluginRepo, 'publicKey' | 'verified'>): boolean {
  return publicKey === '' || verified === true;
}

/** What whoever asks beforehand is told, and not refused for. */
const TOLD: ReadonlySet<Failure['code']> = new Set(['invalid_request', 'manifest_rejected', 'source_failed']);

function complaint({ name }: RepoManifest, url: string): string | null {
  if (name === '') return rejected('it has no "registry_name"').message;
  if (url === OFFICIAL_URL || !soundsOfficial(name)) return null;
  return `A repository may not be called ${JSON.stringify(name)}: that could be taken for the official one`;
}

function unsigned(repo: Pick<PluginRepo, 'publicKey' | 'verified'>): string | null {
  return isTrusted(repo) ? null : 'The manifest is not signed with the key that is set for it';
}

function judged({ url: written, publicKey }: RepoWish): RepoWish {
  const url = written.trim();
  if (url.length > URL_LETTERS || !/^https?:\/\/[\u0021-\u007e]+$/i.test(url) || !URL.canParse(url)) {
    throw new Failure('invalid_request', 'This is no http(s) address that can be fetched');
  }
  return { url, publicKey: armored(publicKey) };
}

const BEGIN = '-----BEGIN PGP PUBLIC KEY BLOCK-----';
const END = '-----END PGP PUBLIC KEY BLOCK-----';

/** With the first and the last line, which some leave out. */
function armored(key: string): string {
  const text = key.trim();
  if (text === '') return '';
  if (text.length > KEY_LETTERS || /[^\t\r\n\u0020-\u007e]/.test(text)) {
    throw new Failure('invalid_request', 'This is no armored public key');
  }
  const begun = text.includes(BEGIN) ? text : `${BEGIN}\n\n${text}`;
  return begun.includes(END) ? begun : `${begun}\n${END}`;
}

function missing(): never {
  throw new Failure('not_found', 'There is no such repository');
}

function changed(): never {
  throw new Failure('conflict', 'The repository was changed at the same time');
}
