/** What a tenant has set for a plugin. */
export type PluginState = {
  enabled: boolean;
  settings: Record<string, unknown>;
  /** Goes up with each change: the ETag of the settings. */
  revision: number;
};
