import { type Selectable, sql, type Updateable } from 'kysely';
import { Failure } from '../core/failure.ts';
import { type KeptManifest, type PluginRepo, REFRESH_HOURS } from '../core/plugin-repo.ts';
import type { Db } from './database.ts';
import type { PluginRepoRow } from './tables.ts';
import { noTenant } from './tenants.ts';
import { inTransaction } from './transaction.ts';
import { isForeignKeyViolation, isUniqueViolation } from './violations.ts';

/** Of one tenant: each costs room for a manifest, and a visit now and then. */
const REPOS_MOST = 32;

export type NewRepo = Pick<PluginRepo, 'url' | 'publicKey' | 'isOfficial'> & { manifest: KeptManifest };

/** The repositories of plugins that one tenant has added, and how often it wants them looked at. */
export class PluginRepos {
  readonly #db: Db;
  readonly #tenant: string;

  constructor(db: Db, tenant: string) {
    this.#db = db;
    this.#tenant = tenant;
  }

  /** The official one first, then by name. */
  async list(): Promise<PluginRepo[]> {
    const rows = await this.#rows().orderBy('is_official', 'desc').orderBy('name').orderBy('id').execute();
    return rows.map(repoOf);
  }

  async get(id: number): Promise<PluginRepo | undefined> {
    const row = await this.#rows().where('id', '=', id).executeTakeFirst();
    return row === undefined ? undefined : repoOf(row);
  }

  async has(url: string): Promise<boolean> {
    const row = await this.#rows().where('url', '=', url).executeTakeFirst();
    return row !== undefined;
  }

  /** The manifests of these as they came, by repository. */
  async manifests(ids: readonly number[]): Promise<Map<number, string>> {
    if (ids.length === 0) return new Map();
    const rows = await this.#db
      .selectFrom('plugin_repos')
      .select(['id', 'manifest'])
      .where('tenant', '=', this.#tenant)
      .where('id', 'in', [...ids])
      .execute();
    return new Map(rows.map(({ id, manifest }) => [id, manifest]));
  }

  /** Throws `conflict` where it has one of that URL, and `quota_exceeded`. */
  async add({ url, publicKey, isOfficial, manifest }: NewRepo): Promise<PluginRepo> {
    try {
      return await inTransaction(this.#db, async (tx) => {
        // Whoever adds at the same time waits here.
        const { last_repo: id } = await tx
          .insertInto('plugin_hubs')
          .values({ tenant: this.#tenant, last_repo: 1 })
          .onConflict((conflict) =>
            conflict.column('tenant').doUpdateSet({ last_repo: sql<number>`plugin_hubs.last_repo + 1` }),
          )
          .returning('last_repo')
          .executeTakeFirstOrThrow();
        const { count } = await tx
          .selectFrom('plugin_repos')
          .select(({ fn }) => fn.countAll<number>().as('count'))
          .where('tenant', '=', this.#tenant)
          .executeTakeFirstOrThrow();
        if (count >= REPOS_MOST) throw tooMany(count + 1);
        const row = await tx
          .insertInto('plugin_repos')
          .values({
            tenant: this.#tenant,
            id,
            url,
            public_key: publicKey,
            is_official: isOfficial,
            ...columnsOf(manifest),
          })
          .returning([...COLUMNS])
          .executeTakeFirstOrThrow();
        return repoOf(row);
      });
    } catch (error) {
      if (isForeignKeyViolation(error)) throw noTenant(this.#tenant);
      if (isUniqueViolation(error)) throw new Failure('conflict', 'There is a repository of this URL already');
      throw error;
    }
  }

  /** Undefined where there is none of that id. */
  async enable(id: number, enabled: boolean): Promise<PluginRepo | undefined> {
    return await this.#update(id, {}, { enabled });
  }

  /** `verified` is what that key says of that manifest. Undefined where it is gone, or has another manifest by now. */
  async rekey(
    id: number,
    manifest: string,
    { publicKey, verified }: Pick<PluginRepo, 'publicKey' | 'verified'>,
  ): Promise<PluginRepo | undefined> {
    return await this.#update(id, { manifest }, { public_key: publicKey, verified });
  }

  /** What was fetched of it. Undefined where it is gone, or has another key by now than what was judged by. */
  async fetched(id: number, publicKey: string, manifest: KeptManifest): Promise<PluginRepo | undefined> {
    return await this.#update(id, { public_key: publicKey }, columnsOf(manifest));
  }

  /** It could not be fetched: what was there stays. */
  async missed(id: number, status: string): Promise<void> {
    await this.#update(id, {}, { fetched_at: new Date(), status });
  }

  async remove(id: number): Promise<boolean> {
    const { numDeletedRows } = await this.#db
      .deleteFrom('plugin_repos')
      .where('tenant', '=', this.#tenant)
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
    return numDeletedRows > 0n;
  }

  /** How often they are looked at; 0 is never. */
  async refreshHours(): Promise<number> {
    const row = await this.#db
      .selectFrom('plugin_hubs')
      .select('refresh_hours')
      .where('tenant', '=', this.#tenant)
      .executeTakeFirst();
    return row?.refresh_hours ?? REFRESH_HOURS;
  }

  async refreshEvery(hours: number): Promise<void> {
    try {
      await this.#db
        .insertInto('plugin_hubs')
        .values({ tenant: this.#tenant, refresh_hours: hours })
        .onConflict((conflict) => conflict.column('tenant').doUpdateSet({ refresh_hours: hours }))
        .execute();
    } catch (error) {
      throw isForeignKeyViolation(error) ? noTenant(this.#tenant) : error;
    }
  }

  /** Only where it still is as `seen`. */
  async #update(
    id: number,
    seen: Partial<Pick<PluginRepoRow, 'public_key' | 'manifest'>>,
    set: Updateable<PluginRepoRow>,
  ): Promise<PluginRepo | undefined> {
    const row = await this.#db
      .updateTable('plugin_repos')
      .set({ ...set, updated_at: new Date() })
      .where(({ eb, and }) =>
        and([
          eb('tenant', '=', this.#tenant),
          eb('id', '=', id),
          ...(seen.public_key === undefined ? [] : [eb('public_key', '=', seen.public_key)]),
          ...(seen.manifest === undefined ? [] : [eb('manifest', '=', seen.manifest)]),
        ]),
      )
      .returning([...COLUMNS])
      .executeTakeFirst();
    return row === undefined ? undefined : repoOf(row);
  }

  #rows() {
    return this.#db
      .selectFrom('plugin_repos')
      .select([...COLUMNS])
      .where('tenant', '=', this.#tenant);
  }
}

/** Repositories whose time has come, of all tenants. */
export class DuePluginRepos {
  readonly #db: Db;

  constructor(db: Db) {
    this.#db = db;
  }

  /** Takes those that have waited for the longest. They are due again after their time, and for no other node before. */
  async claim(now: Date, most: number): Promise<{ tenant: string; id: number }[]> {
    const { rows } = await sql<{ tenant: string; id: number }>`
      update plugin_repos as r set fetched_at = ${now} from (
        select tenant, id from plugin_repos as p
        where p.enabled and p.fetched_at <= ${now}::timestamptz - (
          select make_interval(hours => nullif(coalesce(
            (select refresh_hours from plugin_hubs as h where h.tenant = p.tenant), ${REFRESH_HOURS}::integer), 0)))
        order by p.fetched_at limit ${most} for update skip locked
      ) as due
      where r.tenant = due.tenant and r.id = due.id returning r.tenant, r.id`.execute(this.#db);
    return rows;
  }
}

const COLUMNS = [
  'id',
  'url',
  'name',
  'registry_url',
  'is_official',
  'enabled',
  'public_key',
  'verified',
  'offers',
  'fetched_at',
  'status',
  'created_at',
  'updated_at',
] as const;

const FETCHED = '200';

function columnsOf({ name, registryUrl, verified, offers, text }: KeptManifest) {
  return {
    name,
    registry_url: registryUrl,
    verified,
    offers: JSON.stringify(offers),
    manifest: text,
    fetched_at: new Date(),
    status: FETCHED,
  };
}

function repoOf(row: Pick<Selectable<PluginRepoRow>, (typeof COLUMNS)[number]>): PluginRepo {
  return {
    id: row.id,
    url: row.url,
    name: row.name,
    registryUrl: row.registry_url,
    isOfficial: row.is_official,
    enabled: row.enabled,
    publicKey: row.public_key,
    verified: row.verified,
    offers: row.offers,
    fetchedAt: row.fetched_at,
    status: row.status,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

function tooMany(observed: number): Failure {
  const limit = { name: 'pluginRepos', allowed: REPOS_MOST, observed, unit: 'count' } as const;
  return new Failure('quota_exceeded', `A tenant may have ${REPOS_MOST} repositories of plugins`, { limit });
}
