import { type Static, Type } from 'typebox';
import { isResident } from '../core/plugin.ts';
import type { InstalledPackage } from '../core/store.ts';
import type { Configurator } from '../engine/configurator.ts';
import type { Isolations } from '../engine/isolation.ts';
import { type Quarantine, quarantineKey } from '../engine/quarantine.ts';
import type { Residencies } from '../engine/residencies.ts';
import type { Tenancy } from '../engine/tenancy.ts';
import type { AnswerBudget } from './answer-budget.ts';
import type { App } from './app.ts';
import { summaryOf } from './plugin-summary.ts';
import { type AskSchema, PluginEntry, PluginList, PluginSummary, Problems, ReloadAnswer } from './schemas.ts';

export type PluginRoutes = {
  residencies: Pick<Residencies, 'pardon' | 'startAhead' | 'state'>;
  isolations: Isolations;
  quarantine: Quarantine;
  configurator: Configurator;
  answers: AnswerBudget;
  /** Resolves when what a plugin has said of itself, as it was started, is known. */
  heard(tenancy: Tenancy, plugin: string): Promise<void>;
};

const tags = ['plugins'];

export const PluginParams = Type.Object({ plugin: Type.String({ description: 'Id of the plugin' }) });

export function plugins(app: App, routes: PluginRoutes): void {
  const { isolations, quarantine, configurator, residencies, answers, heard } = routes;
  app.get(
    '/v1/plugins',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'listPlugins',
        summary: 'The plugins there are, and the manifests that were refused',
        tags,
        response: { 200: PluginList, ...Problems(401, 403, 404, 429, 503) },
      },
      onSend: async (request, reply, payload) => {
        if (typeof payload === 'string') answers.begin(request, reply)(Buffer.byteLength(payload));
      },
    },
    async ({ tenancy }) => {
      const { plugins: all, packages, refused, loadedAt } = tenancy.catalogue;
      return {
        plugins: [...all.values()].map((plugin) => ({
          ...summaryOf(plugin, tenancy, residencies),
          package: packageOf(packages.get(plugin.id)),
        })),
        refused: [...refused],
        loadedAt: loadedAt.toISOString(),
      };
    },
  );

  app.get(
    '/v1/plugins/:plugin',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'getPlugin',
        summary: 'One plugin: what it offers, how it is run, what it may use',
        tags,
        params: PluginParams,
        response: { 200: PluginEntry, ...Problems(401, 403, 404, 429, 503) },
      },
    },
    async ({ params: { plugin: id }, tenant, tenancy }) => {
      const plugin = tenancy.plugin(id);
      const standing = isolations.of(plugin);
      const explain = await standing?.runtime.explain(tenant, plugin);
      const sentence = quarantine.sentence(quarantineKey(tenant, id), Date.now());
      return {
        ...summaryOf(plugin, tenancy, residencies),
        interface: plugin.program,
        ui: plugin.ui,
        errLog: plugin.errLog,
        asks: (plugin.asks as Static<typeof AskSchema> | undefined) ?? null,
        package: packageOf(tenancy.catalogue.packages.get(id)),
        limits: { ...tenancy.limits(id) },
        explain: explain === undefined ? null : { ...explain, grade: standing?.grade ?? 'none' },
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
      config: { scope: 'manage' },
      schema: {
        operationId: 'reloadPlugins',
        summary: "Read the tenant's plugins again",
        tags,
        response: { 200: ReloadAnswer, ...Problems(401, 403, 404, 429, 500, 503) },
      },
    },
    async ({ tenancy }) => {
      const { catalogue, ...changes } = await tenancy.reload();
      const { plugins: all, refused, loadMs } = catalogue;
      return { plugins: all.size, refused: refused.length, ...changes, loadMs };
    },
  );

  for (const [verb, enabled] of [
    ['enable', true],
    ['disable', false],
  ] as const) {
    app.post(
      `/v1/plugins/:plugin/${verb}`,
      {
        config: { scope: 'manage' },
        schema: {
          operationId: `${verb}Plugin`,
          summary: enabled
            ? 'Let a plugin be run; a program that stays is started, where there is room'
            : 'Refuse to run a plugin: what runs of it goes on, but a program that stays is stopped',
          tags,
          params: PluginParams,
          response: { 200: PluginSummary, ...Problems(401, 403, 404, 429, 503) },
        },
      },
      async ({ params, tenancy }) => {
        const plugin = tenancy.plugin(params.plugin);
        await configurator.enable(tenancy, plugin.id, enabled);
        if (enabled && isResident(plugin)) {
          // It may have been mended: what starts is what its files are by now.
          residencies.pardon(tenancy, plugin);
          await tenancy.reload();
          const renewed = tenancy.plugin(plugin.id);
          await residencies.startAhead(tenancy, renewed);
          await heard(tenancy, renewed.id);
          return { ...summaryOf(renewed, tenancy, residencies), enabled };
        }
        return { ...summaryOf(plugin, tenancy, residencies), enabled };
      },
    );
  }
}

function packageOf(one: InstalledPackage | undefined) {
  if (one === undefined) return null;
  return { sha256: one.sha256, bytes: one.bytes, installedAt: one.installedAt.toISOString() };
}
