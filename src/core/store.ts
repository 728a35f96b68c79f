import type { Dialect } from './plugin.ts';
import type { Portrait } from './portrait.ts';

/** What a tenant has set for a plugin. */
export type PluginState = {
  /** Null where nobody has said so: then it is as its format has it. */
  enabled: boolean | null;
  /** Whether anybody ever has: it was trusted once. */
  everEnabled: boolean;
  settings: Record<string, unknown>;
  /** What is remembered of it when it is not there, or not loaded; null where nothing is. */
  known: KnownPlugin | null;
  /** Goes up with each change of the settings, or of whether it is enabled: the ETag of the settings. */
  revision: number;
};

/** Of a plugin that nobody has set anything for. */
export const UNTOUCHED: PluginState = Object.freeze({
  enabled: null,
  everEnabled: false,
  settings: Object.freeze({}),
  known: null,
  revision: 1,
});

/** A plugin as it was seen last. */
export type KnownPlugin = {
  dialect: Dialect;
  /** As its code has told it, where that was ever loaded; else as its manifest does. */
  portrait: Portrait | null;
  /** Whether the code has told it. */
  isLoaded: boolean;
  /** Where it was installed from, if that was a repository. */
  source: PluginSource | null;
};

/** A plugin of a repository, as it was installed. */
export type PluginSource = {
  repo: number;
  slug: string;
  version: string;
  isPrerelease: boolean;
  /** When it was installed; its repository may have changed its mind. */
  isDeprecated: boolean;
};

/** A plugin that came in an archive. */
export type InstalledPackage = {
  plugin: string;
  dialect: string;
  /** Path of its manifest inside the archive. */
  manifest: string;
  /** Of the archive, in hexadecimal: its name. */
  sha256: string;
  bytes: number;
  /** Of what the archive is unpacked, in hexadecimal; null where that was not looked at when it was installed. */
  treeHash: string | null;
  installedAt: Date;
};

/** An archive that is to be kept. */
export type Archive = {
  bytes: Buffer;
  /** In hexadecimal, as is the hash of what is unpacked of it. */
  sha256: string;
  treeHash: string;
  /** What it takes of a disk when it is unpacked. */
  unpackedBytes: number;
};

/** What came of an installation. */
export type Installation = {
  /** False where all of it was there already. */
  changed: boolean;
  /** Plugins that came in another archive before. */
  replaced: string[];
};
