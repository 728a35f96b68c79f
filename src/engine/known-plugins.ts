import { isDeepStrictEqual } from 'node:util';
import type { Dialect, Plugin } from '../core/plugin.ts';
import type { Portrait } from '../core/portrait.ts';
import type { KnownPlugin } from '../core/store.ts';
import type { Store } from '../store/store.ts';
import { kept } from './keepable.ts';
import type { Tenancies } from './tenancies.ts';
import type { Tenancy } from './tenancy.ts';

/** Remembers the plugins of a format, so that a tenant can be told of those that are gone. */
export class KnownPlugins {
  readonly #store: Pick<Store, 'of'>;
  readonly #tenancies: Pick<Tenancies, 'learn'>;

  constructor(store: Pick<Store, 'of'>, tenancies: Pick<Tenancies, 'learn'>) {
    this.#store = store;
    this.#tenancies = tenancies;
  }

  /** Resolves when all that are there are remembered as they are. */
  async note(tenancy: Tenancy, dialect: Dialect): Promise<void> {
    const found = [...tenancy.catalogue.plugins.values()].filter((one) => one.dialect === dialect);
    const news = found.filter((one) => isNews(one, tenancy.state(one.id)?.known ?? null));
    if (news.length === 0) return;
    const { pluginStates } = this.#store.of(tenancy.id);
    for (const plugin of news) await pluginStates.knowFound(plugin.id, { dialect, portrait: portraitOf(plugin) });
    await this.#tenancies.learn(tenancy.id, 'plugin_states');
  }

  /** It did not come from a repository, or does not any more. Gives whether it did. */
  async disown(tenancy: Tenancy, plugin: string): Promise<boolean> {
    const known = tenancy.state(plugin)?.known ?? null;
    if (known === null || known.source === null) return false;
    await this.#store.of(tenancy.id).pluginStates.knowSource(plugin, known.dialect, null);
    await this.#tenancies.learn(tenancy.id, 'plugin_states');
    return true;
  }
}

function isNews(plugin: Plugin, known: KnownPlugin | null): boolean {
  if (known === null || known.dialect !== plugin.dialect) return true;
  return !known.isLoaded && !isDeepStrictEqual(known.portrait, portraitOf(plugin));
}

/** As it is when it comes back from the database. */
function portraitOf({ portrait = null }: Plugin): Portrait | null {
  return JSON.parse(JSON.stringify(kept(portrait)));
}
