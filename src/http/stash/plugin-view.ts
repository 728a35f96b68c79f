import type { Plugin } from '../../core/plugin.ts';
import type { Tenancy } from '../../engine/tenancy.ts';
import { type Paths, pathsOf } from './ui/paths.ts';

export type TaskView = { name: string; description: string; plugin: PluginView };

/** A plugin as Stash shows it; a list that a manifest does not have is null. Contract: Stash `plugin.graphql`. */
export type PluginView = {
  id: string;
  name: string;
  description: string | null;
  url: string | null;
  version: string | null;
  enabled: boolean;
  tasks: TaskView[] | null;
  hooks: (TaskView & { hooks: string[] })[] | null;
  settings: { name: string; display_name: string; description: string; type: string }[];
  requires: string[] | null;
  paths: Paths;
};

/** `base` is where this service was reached. */
export function pluginView(
  { id, name, description, url, version, entries, ...plugin }: Plugin,
  tenancy: Tenancy,
  base: string,
) {
  const view: PluginView = {
    id,
    name: name === '' ? id : name,
    description,
    url,
    version,
    enabled: tenancy.isSwitchedOn(id),
    tasks: null,
    hooks: null,
    settings: settingsOf(plugin),
    requires: filled(plugin.ui?.requires ?? []),
    paths: pathsOf({ id, ui: plugin.ui }, base),
  };
  const tasks = entries.filter((one) => one.kind === 'task');
  const hooks = entries.filter((one) => one.kind === 'hook');
  // Each leads back to its plugin, wherever it was met.
  view.tasks = filled(tasks.map((one) => ({ name: one.name, description: one.description, plugin: view })));
  view.hooks = filled(
    hooks.map((one) => ({ name: one.name, description: one.description, hooks: one.triggeredBy, plugin: view })),
  );
  return view;
}

function settingsOf({ settings }: Pick<Plugin, 'settings'>): PluginView['settings'] {
  return settings
    .map(({ key, displayName, description, type }) => ({ name: key, display_name: displayName, description, type }))
    .sort((one, other) => (one.name < other.name ? -1 : 1));
}

function filled<T>(list: readonly T[]): T[] | null {
  return list.length === 0 ? null : [...list];
}
