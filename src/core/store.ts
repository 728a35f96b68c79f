/** What a tenant has set for a plugin. */
export type PluginState = {
  enabled: boolean;
  settings: Record<string, unknown>;
  /** Goes up with each change: the ETag of the settings. */
  revision: number;
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
