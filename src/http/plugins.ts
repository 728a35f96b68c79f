import { type Static, Type } from 'typebox';
import { Failure } from '../core/failure.ts';
import type { Limits } from '../core/limits.ts';
import type { Plugin, Refusal } from '../core/plugin.ts';
import type { Runtime } from '../core/runtime.ts';
import { quarantineKey } from '../engine/invoker.ts';
import type { Quarantine } from '../engine/quarantine.ts';
import type { App } from './app.ts';
import { PluginEntry, PluginList, type PluginSummary, Problems, ReloadAnswer } from './schemas.ts';

/** What there is now, and a way to read it again. */
export type Catalogue = {
  readonly current: {
    plugins: ReadonlyMap<string, Plugin>;
    refused: readonly Refusal[];
    loadedAt: Date;
    loadMs: number;
  };
  reload(): Promise<unknown>;
};

export type PluginRoutes = {
  catalogue: Catalogue;
  runtimes: readonly Runtime[];
  quarantine: Quarantine;
  limits(tenant: string, plugin: string): Limits;
};

const tags = ['plugins'];

export function plugins(app: App, { catalogue, runtimes, quarantine, limits }: PluginRoutes): void {
  app.get(
    '/v1/plugins',
    {
      schema: {
        operationId: 'listPlugins',
        summary: 'The plugins there are, and the manifests that were refused',
        tags,
        response: { 200: PluginList, ...Problems(401, 403) },
      },
    },
    async () => {
      const { plugins: all, refused, loadedAt } = catalogue.current;
      return { plugins: [...all.values()].map(summary), refused: [...refused], loadedAt: loadedAt.toISOString() };
    },
  );

  app.get(
    '/v1/plugins/:plugin',
    {
      schema: {
        operationId: 'getPlugin',
        summary: 'One plugin: what it offers, how it is run, what it may use',
        tags,
        params: Type.Object({ plugin: Type.String({ description: 'Id of the plugin' }) }),
        response: { 200: PluginEntry, ...Problems(401, 403, 404) },
      },
    },
    async ({ params: { plugin: id }, tenant }) => {
      const plugin = catalogue.current.plugins.get(id);
      if (plugin === undefined) throw new Failure('not_found', `There is no plugin "${id}"`);
      const explain = await runtimes.find((one) => one.runs(plugin))?.explain(tenant, plugin);
      const sentence = quarantine.sentence(quarantineKey(tenant, id), Date.now());
      return {
        ...summary(plugin),
        interface: plugin.program,
        ui: plugin.ui,
        errLog: plugin.errLog,
        limits: { ...limits(tenant, id) },
        explain: explain ?? null,
        quarantine: sentence && {
          until: sentence.until.toISOString(),
          evidence: sentence.evidence.map(({ at, code, message }) => ({ at: at.toISOString(), code, message })),
        },
      };
    },
  );

  app.post(
    '/v1/plugins/reload',
    {
      schema: {
        operationId: 'reloadPlugins',
        summary: 'Read the plugins folder again',
        tags,
        response: { 200: ReloadAnswer, ...Problems(401, 403, 500) },
      },
    },
    async ({ tenant }) => {
      const before = catalogue.current.plugins;
      await catalogue.reload();
      const { plugins: after, refused, loadMs } = catalogue.current;
      const kept = new Set(after.values());
      for (const runtime of runtimes) runtime.retain(tenant, kept);
      // A plugin whose files have not changed is the same object as before.
      const known = [...after.keys()].filter((id) => before.has(id));
      const changed = known.filter((id) => before.get(id) !== after.get(id));
      const removed = [...before.keys()].filter((id) => !after.has(id));
      for (const id of [...changed, ...removed]) quarantine.forget(quarantineKey(tenant, id));
      return {
        plugins: after.size,
        refused: refused.length,
        added: [...after.keys()].filter((id) => !before.has(id)),
        changed,
        removed,
        loadMs,
      };
    },
  );
}

function summary(plugin: Plugin): Static<typeof PluginSummary> {
  const { id, dialect, name, description, url, version, program, entries, settings } = plugin;
  return {
    id,
    dialect,
    name,
    description,
    url,
    version,
    enabled: true,
    program: program.runtime,
    tasks: entries.filter((one) => one.kind === 'task').map((one) => ({ ...one, kind: undefined })),
    hooks: entries.filter((one) => one.kind === 'hook').map((one) => ({ ...one, kind: undefined })),
    settings,
  };
}
