import type { Plugin } from '../core/plugin.ts';
import type { Home } from '../core/resident.ts';
import type { Remover } from '../packages/remover.ts';

/** The folders of residents, below those of their tenants. */
export class Homes {
  readonly remover: Remover;

  constructor(remover: Remover) {
    this.remover = remover;
  }

  /** Of a plugin as it is by now: its copy is made anew when its files have changed. */
  async open(_tenantDir: string, _plugin: Plugin): Promise<Home> {
    throw new Error('not yet');
  }

  /** All that a plugin has kept. */
  async remove(_tenantDir: string, _plugin: string): Promise<void> {}
}
