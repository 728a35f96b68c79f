/**
 * The routes of server plugins, under the addresses that SillyTavern gives them: whatever is asked for below
 * `/api/plugins/{address}` goes to the program of the plugin, and its answer comes back, both as they are but for what is
 * between us and either side. Contract: SillyTavern `src/plugin-loader.js`, `src/server-main.js`.
 */
import type { App, AppOptions } from '../app.ts';
import type { AuthOptions } from '../auth.ts';
import { errorHandler } from '../errors.ts';
import { type CsrfOptions, csrf, refusingStrangers } from './csrf.ts';
import { pluginRoutes } from './plugin-routes.ts';
import { type ProxyOptions, proxy } from './proxy.ts';

/** What nobody but this needs. */
export type SillyTavernParts = ProxyOptions & CsrfOptions;

type Options = SillyTavernParts & AuthOptions & Pick<AppOptions, 'requestBytes' | 'bug'>;

export async function sillytavern(app: App, options: Options): Promise<void> {
  pluginRoutes(app);
  await app.register(async (inside) => {
    const scope = inside as unknown as App;
    scope.setErrorHandler(refusingStrangers(errorHandler(options.requestBytes, options.bug)));
    const protect = await csrf(scope, options);
    proxy(scope, { ...options, protect });
  });
}
