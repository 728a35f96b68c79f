import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { Failure } from '../../core/failure.ts';
import type { Configurator } from '../../engine/configurator.ts';
import type { KnownPlugins } from '../../engine/known-plugins.ts';
import type { Residencies } from '../../engine/residencies.ts';
import type { Tenancy } from '../../engine/tenancy.ts';
import { type AnswerBudget, PluginsText } from '../answer-budget.ts';
import type { App } from '../app.ts';
import { fieldsIn } from './bodies.ts';
import { assertKey } from './keys.ts';
import { DIALECT, foundIn, isMissing, type PluginViews, pluginIn } from './plugin-view.ts';
import { failed, refused } from './refused.ts';
import { Errors, Key, PluginForm, Success, tags } from './schemas.ts';
import { type Starting, started } from './starting.ts';

export type PluginRoutes = Starting & {
  views: PluginViews;
  answers: AnswerBudget;
  residencies: Pick<Residencies, 'start' | 'stop' | 'pardon'>;
  known: KnownPlugins;
  /** Whatever is disabled has stopped. */
  configurator: Pick<Configurator, 'enable' | 'configure'>;
  /** What is set for a plugin, as callers may see it. */
  settingsOf(tenancy: Tenancy, plugin: string): Readonly<Record<string, unknown>>;
  /** Stops and removes a plugin whichever way it came, and what is remembered of it. False where there is none. */
  discard(tenancy: Tenancy, plugin: string): Promise<boolean>;
};

const Settings = Type.Record(Type.String(), Type.Unknown());
const everywhere = [401, 403, 404, 405, 429, 503] as const;

export function plugins(scope: App, routes: PluginRoutes): void {
  const { views, answers, residencies, known, configurator, settingsOf, discard } = routes;
  scope.get(
    '/plugins/',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'dispatcharrPlugins',
        summary: 'The plugins there are, and those whose folders are gone',
        tags,
        response: { 200: Type.Object({ plugins: Type.Array(PluginForm) }), ...Errors(...everywhere) },
      },
    },
    async (request, reply) => {
      await known.note(request.tenancy, DIALECT);
      const text = new PluginsText(answers.begin(request, reply));
      for (const one of await views.all(request)) text.add(one);
      return text.send(reply);
    },
  );

  scope.post(
    '/plugins/reload/',
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'reloadDispatcharrPlugins',
        summary: 'Stop all plugins, read their folders again, and start those that are enabled',
        tags,
        response: { 200: Success({ count: Type.Integer() }), ...Errors(...everywhere) },
      },
    },
    async ({ tenancy }) => {
      await Promise.all(foundIn(tenancy).map((plugin) => residencies.stop(tenancy, plugin, 'reload')));
      await tenancy.reload();
      await known.note(tenancy, DIALECT);
      const found = foundIn(tenancy);
      for (const plugin of found) await started(routes, tenancy, plugin);
      return { success: true, count: found.length } as const;
    },
  );

  scope.post(
    '/plugins/:key/settings/',
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'configureDispatcharrPlugin',
        summary: 'Replace all settings of a plugin',
        tags,
        params: Key,
        body: Type.Object({ settings: Type.Optional(Settings) }),
        response: { 200: Success({ settings: Settings }), ...Errors(400, 413, ...everywhere) },
      },
    },
    async (request) => {
      const { tenancy } = request;
      const { key } = request.params;
      if (pluginIn(tenancy, key) === undefined) {
        throw refused(400, 'PluginConfig matching query does not exist.', 'not_found');
      }
      const { settings = {} } = fieldsIn(request);
      if (!isObject(settings)) throw refused(400, 'Settings must be an object');
      await configurator.configure(tenancy, key, settings).catch(tell);
      return { success: true, settings: { ...settingsOf(tenancy, key) } } as const;
    },
  );

  scope.post(
    '/plugins/:key/enabled/',
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'enableDispatcharrPlugin',
        summary: 'Enable a plugin and start it, or stop and disable it',
        tags,
        params: Key,
        body: Type.Object({ enabled: Type.Boolean() }),
        response: {
          200: Success({ enabled: Type.Boolean(), ever_enabled: Type.Boolean(), plugin: PluginForm }),
          ...Errors(400, ...everywhere),
        },
      },
    },
    async (request) => {
      const { tenancy } = request;
      const enabled = enabledIn(request);
      const plugin = pluginIn(tenancy, request.params.key);
      if (plugin === undefined) throw refused(404, 'Plugin not found', 'not_found');
      await configurator.enable(tenancy, plugin.id, enabled);
      // As there: whoever enables it has what its files are by now, and may have mended them.
      if (enabled) await tenancy.reload();
      const found = pluginIn(tenancy, plugin.id) ?? plugin;
      if (enabled) {
        residencies.pardon(tenancy, found);
        await started(routes, tenancy, found);
      }
      const form = await views.one(request, found);
      return { success: true, enabled: form.enabled, ever_enabled: form.ever_enabled, plugin: form } as const;
    },
  );

  scope.delete(
    '/plugins/:key/delete/',
    {
      config: { scope: 'manage' },
      schema: {
        operationId: 'deleteDispatcharrPlugin',
        summary: 'Remove a plugin with all it has',
        tags,
        params: Key,
        response: { 200: Success({}), ...Errors(400, 500, ...everywhere) },
      },
    },
    async ({ tenancy, params: { key } }) => {
      assertKey(key);
      if (isOurs(tenancy, key))
        await discard(tenancy, key).catch((error) => tell(error, 'Failed to delete plugin files: '));
      return { success: true } as const;
    },
  );
}

function tell(error: unknown, begin?: string): never {
  throw error instanceof Failure ? failed(error, begin) : error;
}

/** Whatever else has that name, and may only not be loaded now, keeps what was set for it. */
function isOurs(tenancy: Tenancy, key: string): boolean {
  return pluginIn(tenancy, key) !== undefined || isMissing(tenancy, key);
}

function enabledIn(request: FastifyRequest): boolean {
  const { enabled = null } = fieldsIn(request);
  if (enabled === null) throw refused(400, "Missing 'enabled' boolean");
  const word = String(enabled).trim().toLowerCase();
  if (typeof enabled !== 'object' && YES.includes(word)) return true;
  if (typeof enabled !== 'object' && NO.includes(word)) return false;
  throw refused(400, "Invalid 'enabled' boolean");
}

const YES = ['true', '1', 'yes', 'y', 'on'];
const NO = ['false', '0', 'no', 'n', 'off'];

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
