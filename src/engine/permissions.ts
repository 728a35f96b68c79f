/**
 * What plugins are granted beyond their folders and their application, by whom: hosts and lower limits by whoever manages
 * the tenant, files of this machine by operators alone. What a plugin asks for changes nothing by itself.
 */
import { realpath } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { Failure } from '../core/failure.ts';
import { pathProblem } from '../core/file-path.ts';
import {
  type Ask,
  type FileGrant,
  type Grant,
  HOSTS_MOST,
  type KeptGrant,
  missingOf,
  NOTHING,
  type Observed,
} from '../core/grant.ts';
import { hostOf, isAddress, patternOf, patternsFor, written } from '../core/host-pattern.ts';
import type { Limits } from '../core/limits.ts';
import type { Store } from '../store/store.ts';
import type { Observer } from './observer.ts';
import type { Tenancies } from './tenancies.ts';
import type { Tenancy } from './tenancy.ts';

export type PermissionsOptions = {
  store: Pick<Store, 'of'>;
  tenancies: Tenancies;
  observer: Observer;
  /** Folders of the service's own: no plugin gets any of these. */
  folders: readonly string[];
};

/** All that is to be granted; `files` that are not named stay as they are. */
export type Wanted = {
  network: readonly string[];
  files?: readonly FileGrant[] | undefined;
  limits: Partial<Limits>;
  observe: boolean;
};

/** Who grants. */
export type Grantor = { isOperator: boolean };

export type Overview = {
  kept: KeptGrant;
  asked: Ask | null;
  /** What of it was not granted. */
  missing: Grant;
  /** Null where nothing is observed. */
  observation: { observed: Observed[]; proposal: Grant } | null;
};

export class Permissions {
  readonly #options: PermissionsOptions;

  constructor(options: PermissionsOptions) {
    this.#options = options;
  }

  /** As it is in the database, so that what is read can be written back. */
  async overview(tenancy: Tenancy, id: string): Promise<Overview> {
    const plugin = tenancy.plugin(id);
    return await this.#overview(tenancy, plugin.id, await this.#grants(tenancy).get(plugin.id));
  }

  /** With `revision`, only if that is still the newest: else `conflict`. Throws `invalid_request` and `forbidden`. */
  async put(tenancy: Tenancy, id: string, wanted: Wanted, by: Grantor, revision?: number): Promise<Overview> {
    const plugin = tenancy.plugin(id);
    const network = hostsOf(wanted.network);
    const { files: named, limits, observe } = wanted;
    if (named !== undefined) await this.#assertPaths(named);
    const change = ({ grant }: KeptGrant) => {
      const files = named ?? grant.files;
      if (!by.isOperator && !isDeepStrictEqual(plain(files), plain(grant.files))) throw notTheirs();
      return { grant: { network, files: plain(files), limits }, observe };
    };
    const kept = await this.#grants(tenancy).change(plugin.id, change, revision);
    await this.#options.tenancies.learn(tenancy.id, 'grants');
    return await this.#overview(tenancy, plugin.id, kept);
  }

  /** Takes all away. */
  async clear(tenancy: Tenancy, id: string, revision?: number): Promise<void> {
    const plugin = tenancy.plugin(id);
    // What was noted before must not be written down after.
    await this.#options.observer.flush();
    await this.#grants(tenancy).clear(plugin.id, revision);
    await this.#options.tenancies.learn(tenancy.id, 'grants');
  }

  async #overview(tenancy: Tenancy, id: string, kept: KeptGrant): Promise<Overview> {
    const plugin = tenancy.plugin(id);
    const asked = plugin.asks ?? null;
    const missing = asked === null ? NOTHING : missingOf(asked, kept.grant, tenancy.limits(id));
    if (!kept.observe) return { kept, asked, missing, observation: null };
    await this.#options.observer.flush();
    const observed = await this.#grants(tenancy).observed(id);
    const proposal = { ...kept.grant, network: proposed(observed) };
    return { kept, asked, missing, observation: { observed, proposal } };
  }

  /** Throws `invalid_request` for what nobody may be given, by whatever name. */
  async #assertPaths(files: readonly FileGrant[]): Promise<void> {
    const real = async (path: string) => await realpath(path).catch(() => path);
    const folders = await Promise.all(this.#options.folders.map(real));
    const ours = [...this.#options.folders, ...folders];
    const where: { at: string; problem: string }[] = [];
    for (const [at, { path }] of files.entries()) {
      const said = pathProblem(path, ours);
      const led = said === null ? pathProblem(await real(path), ours) : null;
      const problem = said ?? (led && `leads to what ${led}`);
      if (problem !== null) where.push({ at: `/files/${at}/path`, problem });
    }
    if (new Set(files.map(({ path }) => path)).size < files.length) {
      where.push({ at: '/files', problem: 'has a path twice' });
    }
    if (where.length > 0) throw notAsIs(where);
  }

  #grants({ id }: Tenancy) {
    return this.#options.store.of(id).grants;
  }
}

/** In one form, each once. Throws `invalid_request`. */
function hostsOf(texts: readonly string[]): string[] {
  const where: { at: string; problem: string }[] = [];
  const hosts = texts.flatMap((text, at) => {
    const pattern = patternOf(text);
    if (pattern !== null) return written(pattern);
    where.push({ at: `/network/${at}`, problem: HOST_WORDS });
    return [];
  });
  if (where.length > 0) throw notAsIs(where);
  return [...new Set(hosts)];
}

export const HOST_WORDS =
  'is not the name or address of a host: such are example.com, *.example.com, example.com:8443 and [2001:db8::1]:8080';

function notAsIs(where: readonly { at: string; problem: string }[]): Failure {
  const [first] = where;
  return new Failure('invalid_request', `This cannot be granted: ${first?.at} ${first?.problem}`, { where });
}

function notTheirs(): Failure {
  return new Failure('forbidden', 'Only an operator of this service may grant files of this machine');
}

/** Without a prototype's or anybody's further members, in one order of members. */
function plain(files: readonly FileGrant[]): FileGrant[] {
  return files.map(({ path, mode }) => ({ path, mode }));
}

/** Names that lead into no network but the local one. */
const LOCAL = /(^|\.)(localhost|local|localdomain|internal|intranet|lan|home|home\.arpa|corp|private)$/;

/** The least that would have let through what can be granted: names, and nothing special. */
function proposed(observed: readonly Observed[]): string[] {
  const fine = observed.filter(
    ({ host, because }) =>
      because !== 'special address' &&
      because !== 'unresolved' &&
      !isAddress(host) &&
      host.includes('.') &&
      hostOf(host) !== null &&
      !LOCAL.test(host),
  );
  return patternsFor(fine).slice(0, HOSTS_MOST);
}
