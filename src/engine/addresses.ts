import { Failure } from '../core/failure.ts';
import { isServer, type Plugin } from '../core/plugin.ts';
import { ADDRESS, RESERVED_ADDRESSES } from '../core/serving.ts';
import type { Catalogue } from './catalogue.ts';
import type { Tenancy } from './tenancy.ts';

/**
 * Which of a tenant's plugins answers at which address below `/api/plugins`: each at the one that its code says it has,
 * which is not known before that has run. What was told here counts; of those that were told elsewhere, or earlier, what
 * is remembered of them does. Contract: SillyTavern `src/plugin-loader.js`, where whoever comes first has an id.
 */
export class Addresses {
  readonly #told = new WeakMap<Tenancy, WeakMap<Plugin, string>>();
  /** Those of a catalogue that answer anywhere: most of one do not. */
  readonly #servers = new WeakMap<Catalogue, readonly Plugin[]>();

  /** Throws `plugin_boot_failed` where a plugin may not be there. */
  claim(tenancy: Tenancy, plugin: Plugin, address: string): void {
    if (!ADDRESS.test(address) || address.length > ADDRESS_LETTERS) {
      throw refused(`${quoted(address)} is no id: up to ${ADDRESS_LETTERS} of a-z, 0-9, _ and - make one`);
    }
    if (RESERVED_ADDRESSES.includes(address)) {
      throw refused(
        `${quoted(address)} is reserved: /api/plugins/${address}/ is an address of Dispatcharr's API; call it otherwise`,
      );
    }
    const owner = this.#ownerOf(tenancy, plugin, address);
    if (owner !== undefined) {
      throw refused(
        `${quoted(address)} is in use already, by plugin ${quoted(owner.id)}, which keeps it until it is removed or says another`,
      );
    }
    const told = this.#told.get(tenancy) ?? new WeakMap<Plugin, string>();
    this.#told.set(tenancy, told.set(plugin, address));
  }

  /**
   * Who has an address keeps it until it says another, or is removed: also while it is disabled, or its files have changed,
   * since whoever got it meanwhile would get what its users send. Where two remember the same one, the first counts.
   */
  #ownerOf(tenancy: Tenancy, plugin: Plugin, address: string): Plugin | undefined {
    const all = this.#all(tenancy);
    const others = all.filter(({ id }) => id !== plugin.id);
    const told = others.find((one) => this.#toldBy(tenancy, one) === address);
    if (told !== undefined) return told;
    const [first] = others.filter(
      (one) => this.#toldBy(tenancy, one) === undefined && remembered(tenancy, one) === address,
    );
    if (first === undefined || remembered(tenancy, plugin) !== address) return first;
    return all.findIndex(({ id }) => id === plugin.id) < all.indexOf(first) ? undefined : first;
  }

  #toldBy(tenancy: Tenancy, plugin: Plugin): string | undefined {
    return this.#told.get(tenancy)?.get(plugin);
  }

  /** Undefined where its code was never heard. */
  of(tenancy: Tenancy, plugin: Plugin): string | undefined {
    return this.#toldBy(tenancy, plugin) ?? tenancy.portrait(plugin).serves?.id;
  }

  /** Whether no plugin of the tenant's would answer anywhere, were it enabled. */
  isEmpty(tenancy: Tenancy): boolean {
    return this.#all(tenancy).length === 0;
  }

  /** Who answers there; undefined where nobody is known to. */
  at(tenancy: Tenancy, address: string): Plugin | undefined {
    return this.#enabled(tenancy).find((plugin) => this.of(tenancy, plugin) === address);
  }

  /** Those of which it is not known. */
  unheard(tenancy: Tenancy): readonly Plugin[] {
    return this.#enabled(tenancy).filter((plugin) => this.of(tenancy, plugin) === undefined);
  }

  /**
   * Who is likely to answer there when it has been started: whoever did once, and whoever is called so.
   */
  likely(tenancy: Tenancy, address: string): readonly Plugin[] {
    const unheard = this.unheard(tenancy);
    const owners = unheard.filter((plugin) => remembered(tenancy, plugin) === address);
    return owners.length > 0 ? owners : unheard.filter(({ id }) => id === address);
  }

  /** Who would answer there if it were enabled. */
  disabledAt(tenancy: Tenancy, address: string): Plugin | undefined {
    const off = this.#all(tenancy).filter(({ id }) => !tenancy.isEnabled(id));
    return off.find((plugin) => (remembered(tenancy, plugin) ?? plugin.id) === address);
  }

  #enabled(tenancy: Tenancy): readonly Plugin[] {
    return this.#all(tenancy).filter(({ id }) => tenancy.isEnabled(id));
  }

  #all({ catalogue }: Tenancy): readonly Plugin[] {
    const known = this.#servers.get(catalogue) ?? [...catalogue.plugins.values()].filter(isServer);
    this.#servers.set(catalogue, known);
    return known;
  }
}

/** What it has said once, whatever its files are by now. */
function remembered(tenancy: Tenancy, { id, dialect }: Plugin): string | undefined {
  const known = tenancy.state(id)?.known;
  return known?.isLoaded === true && known.dialect === dialect ? known.portrait?.serves?.id : undefined;
}

const ADDRESS_LETTERS = 128;

function refused(why: string): Failure {
  return new Failure('plugin_boot_failed', `The plugin calls itself what it may not: ${why}`);
}

function quoted(text: string): string {
  return JSON.stringify(text.length > ADDRESS_LETTERS ? `${text.slice(0, ADDRESS_LETTERS)}…` : text);
}
