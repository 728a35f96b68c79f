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
  /** Folder of the manifest inside the archive; '' for its top. */
  root: string;
  /** Of the archive, in hexadecimal: its name. */
  sha256: string;
  bytes: number;
  installedAt: Date;
};
