/**
 * The API of Dispatcharr for its plugins, under the addresses that its front end knows. In this scope everything answers
 * as Django REST framework does; what our own API would say is in the header Isopod-Error-Code.
 * Contract: Dispatcharr `apps/plugins/api_urls.py`, `api_views.py`.
 */
import type { App, AppOptions } from '../app.ts';
import type { AuthOptions } from '../auth.ts';
import { takeBodies } from './bodies.ts';
import { closeDeadEnds, methodsIn } from './dead-ends.ts';
import { detailHandler } from './details.ts';
import { type EventRoutes, events } from './events.ts';
import { type ImportRoutes, imports, viewOfInstalled } from './imports.ts';
import { type LogoRoutes, logos } from './logos.ts';
import { PluginViews, type ViewOptions } from './plugin-view.ts';
import { type PluginRoutes, plugins } from './plugins.ts';
import { type RepoRoutes, repos } from './repos.ts';
import { type RunRoutes, runs } from './runs.ts';

/** Where all of it is. */
export const MOUNT = '/api/plugins';

export type DispatcharrRoutes = ViewOptions &
  Omit<PluginRoutes & ImportRoutes, 'views'> &
  RunRoutes &
  EventRoutes &
  LogoRoutes &
  Pick<RepoRoutes, 'hub'>;

/** What nobody but this needs. */
export type DispatcharrParts = Pick<
  DispatcharrRoutes,
  'known' | 'settingsOf' | 'origins' | 'heard' | 'install' | 'discard' | 'hub'
>;

type Options = DispatcharrRoutes & AuthOptions & Pick<AppOptions, 'requestBytes' | 'bug'>;

export async function dispatcharr(app: App, options: Options): Promise<void> {
  await app.register(
    async (inside) => {
      const scope = inside as unknown as App;
      scope.setErrorHandler(detailHandler(options.requestBytes, options.bug));
      // Schemas are for the reference: what is wrong is said in the words and in the order of the host.
      scope.setValidatorCompiler(() => () => true);
      scope.setSerializerCompiler(() => JSON.stringify);
      scope.addHook('onRoute', (route) => {
        route.config = { ...route.config, apiKeys: true };
      });
      await takeBodies(scope, options);
      const methods = methodsIn(scope);
      const routes = { ...options, views: new PluginViews(options) };
      plugins(scope, routes);
      imports(scope, routes);
      runs(scope, options);
      logos(scope, options);
      events(scope, options);
      repos(scope, { ...options, viewOf: (request, plugin) => viewOfInstalled(request, plugin, routes) });
      closeDeadEnds(scope, methods);
    },
    { prefix: MOUNT },
  );
}
