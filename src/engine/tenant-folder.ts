import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DEFAULT_TENANT, type Tenant } from '../core/tenant.ts';
import type { Remover } from '../packages/remover.ts';

/** Which tenant a folder is of: one that was removed may have had the same name. */
const MARK = '.tenant';

/** Nobody else gets to see what is in there. Whoever a plugin runs as gets to its own folder by name. */
const CLOSED = 0o711;

/** The folders of tenants below the data folder. Ids have been checked before they get here. */
export class TenantFolders {
  readonly #dir: string;
  readonly #remover: Remover;

  constructor(dataDir: string, remover: Remover) {
    this.#dir = join(dataDir, 'tenants');
    this.#remover = remover;
  }

  /** Goes on with what was being removed when the service ended. */
  async sweep(): Promise<void> {
    await this.#remover.sweep(this.#dir);
  }

  of(tenant: string): string {
    return join(this.#dir, tenant);
  }

  /** Whether there is anything to remove. */
  async has(tenant: string): Promise<boolean> {
    return (await stat(this.of(tenant)).catch(() => null)) !== null;
  }

  /** The tenant's own folder, made if need be. What another tenant of that name has left behind is removed first. */
  async open({ id, createdAt }: Tenant): Promise<string> {
    const dir = this.of(id);
    const mark = createdAt.toISOString();
    // Nobody else was ever the default tenant, and its folder stays when the database is another one.
    const left = id === DEFAULT_TENANT ? mark : await readFile(join(dir, MARK), 'utf8').catch(() => undefined);
    if (left === mark) {
      await mkdir(dir, { recursive: true, mode: CLOSED });
      return dir;
    }
    if (left !== undefined) await this.remove(id);
    await mkdir(dir, { recursive: true, mode: CLOSED });
    await writeFile(join(dir, MARK), mark, { mode: 0o600 });
    return dir;
  }

  /** Resolves when the name is free; what was in there goes in its own time. */
  async remove(tenant: string): Promise<void> {
    await this.#remover.remove(this.of(tenant));
  }
}
