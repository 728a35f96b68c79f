import { type Selectable, sql } from 'kysely';
import { type KeptGrant, type Observed, UNGRANTED } from '../core/grant.ts';
import type { Db, Tx } from './database.ts';
import type { GrantRow } from './tables.ts';
import { changedMeanwhile, noTenant } from './tenants.ts';
import { inTransaction, lock } from './transaction.ts';
import { isForeignKeyViolation } from './violations.ts';

/** Hosts that are kept of one plugin: those that were tried the most. */
const OBSERVED_MOST = 100;

/** What the plugins of one tenant were granted, and what they have tried to reach while they were observed. */
export class Grants {
  readonly #db: Db;
  readonly #tenant: string;

  constructor(db: Db, tenant: string) {
    this.#db = db;
    this.#tenant = tenant;
  }

  async get(plugin: string): Promise<KeptGrant> {
    const row = await this.#db
      .selectFrom('grants')
      .selectAll()
      .where('tenant', '=', this.#tenant)
      .where('plugin', '=', plugin)
      .executeTakeFirst();
    return row === undefined ? UNGRANTED : grantOf(row);
  }

  /** Of those plugins that something was ever granted to. */
  async all(): Promise<Map<string, KeptGrant>> {
    const rows = await this.#db.selectFrom('grants').selectAll().where('tenant', '=', this.#tenant).execute();
    return new Map(rows.map((row) => [row.plugin, grantOf(row)]));
  }

  /**
   * What `changed` makes of what is there. With `revision`, only if that is still the newest: else `conflict`. Whoever is
   * observed from now on is observed anew.
   */
  async change(
    plugin: string,
    changed: (before: KeptGrant) => Omit<KeptGrant, 'revision'>,
    revision?: number,
  ): Promise<KeptGrant> {
    return await inTransaction(this.#db, async (tx) => {
      const before = await this.#locked(tx, plugin);
      if (revision !== undefined && revision !== before.revision) throw changedMeanwhile(before.revision);
      const { grant, observe } = changed(before);
      if (observe && !before.observe) await this.#forgetObserved(tx, plugin);
      const row = await tx
        .updateTable('grants')
        .set({
          network: JSON.stringify(grant.network),
          files: JSON.stringify(grant.files),
          limits: JSON.stringify(grant.limits),
          observe,
          revision: before.revision + 1,
          updated_at: new Date(),
        })
        .where('tenant', '=', this.#tenant)
        .where('plugin', '=', plugin)
        .returningAll()
        .executeTakeFirstOrThrow();
      return grantOf(row);
    });
  }

  /** Takes all away. */
  async clear(plugin: string, revision?: number): Promise<void> {
    await this.change(plugin, () => UNGRANTED, revision);
    await this.#forgetObserved(this.#db, plugin);
  }

  async observed(plugin: string): Promise<Observed[]> {
    const rows = await this.#db
      .selectFrom('observed_hosts')
      .select(['host', 'port', 'tries', 'because', 'last_at'])
      .where('tenant', '=', this.#tenant)
      .where('plugin', '=', plugin)
      .orderBy('tries', 'desc')
      .orderBy('host')
      .orderBy('port')
      .execute();
    return rows.map(({ last_at: lastAt, tries, ...row }) => ({ ...row, tries: Number(tries), lastAt }));
  }

  /** Adds to what was observed of a plugin; of a tenant that is gone, nothing. */
  async observe(plugin: string, hosts: readonly Observed[]): Promise<void> {
    const rows = JSON.stringify(hosts.map(({ lastAt, ...one }) => ({ ...one, last_at: lastAt })));
    try {
      await inTransaction(this.#db, async (tx) => {
        // Two nodes could meet at the same rows in another order.
        await lock(tx, `observed ${this.#tenant} ${plugin}`);
        await sql`
          insert into observed_hosts as o (tenant, plugin, host, port, tries, because, last_at)
          select ${this.#tenant}, ${plugin}, host, port, tries, because, last_at
          from jsonb_to_recordset(${rows}::jsonb)
            as n (host text, port integer, tries bigint, because text, last_at timestamptz)
          on conflict (tenant, plugin, host, port) do update set
            tries = o.tries + excluded.tries, because = excluded.because,
            last_at = greatest(o.last_at, excluded.last_at)`.execute(tx);
        await sql`
          delete from observed_hosts where (tenant, plugin, host, port) in (
            select tenant, plugin, host, port from observed_hosts
            where tenant = ${this.#tenant} and plugin = ${plugin}
            order by tries desc, last_at desc, host, port offset ${OBSERVED_MOST}
          )`.execute(tx);
      });
    } catch (error) {
      if (!isForeignKeyViolation(error)) throw error;
    }
  }

  async #forgetObserved(db: Db | Tx, plugin: string): Promise<void> {
    await db.deleteFrom('observed_hosts').where('tenant', '=', this.#tenant).where('plugin', '=', plugin).execute();
  }

  /** The row, which is made if need be, for us alone until the transaction ends. */
  async #locked(tx: Tx, plugin: string): Promise<KeptGrant> {
    try {
      await tx
        .insertInto('grants')
        .values({ tenant: this.#tenant, plugin, network: '[]', files: '[]', limits: '{}' })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    } catch (error) {
      throw isForeignKeyViolation(error) ? noTenant(this.#tenant) : error;
    }
    const rows = tx.selectFrom('grants').selectAll().where('tenant', '=', this.#tenant).where('plugin', '=', plugin);
    return grantOf(await rows.forUpdate().executeTakeFirstOrThrow());
  }
}

function grantOf({ network, files, limits, observe, revision }: Selectable<GrantRow>): KeptGrant {
  return { grant: { network, files, limits }, observe, revision };
}
