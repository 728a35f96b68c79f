/** A repository of plugins: a manifest at a URL that says what there is. Contract: Dispatcharr `Plugin_repo.md`. */
export type PluginRepo = {
  /** Of the tenant's repositories; never given to another one. */
  id: number;
  url: string;
  /** As its manifest has it. */
  name: string;
  registryUrl: string;
  isOfficial: boolean;
  enabled: boolean;
  /** Armored; empty where none is set. */
  publicKey: string;
  /** Whether what is kept of it is signed with that key; null where there is no key. */
  verified: boolean | null;
  offers: readonly Offer[];
  /** When it was fetched last, or should have been. */
  fetchedAt: Date;
  /** What came of that, in a word. */
  status: string;
  createdAt: Date;
  updatedAt: Date;
};

/** What is known of a plugin without reading the manifest again. */
export type Offer = { slug: string; version: string | null; deprecated: boolean };

/** What a manifest says, as it came. */
export type KeptManifest = Pick<PluginRepo, 'name' | 'registryUrl' | 'verified' | 'offers'> & { text: string };

export const REFRESH_HOURS = 6;
/** A year. */
export const REFRESH_HOURS_MOST = 8_760;
