import { Failure } from '../../core/failure.ts';
import type { Plugin } from '../../core/plugin.ts';
import type { Residencies } from '../../engine/residencies.ts';
import type { Tenancy } from '../../engine/tenancy.ts';

export type Starting = {
  residencies: Pick<Residencies, 'start'>;
  /** Resolves when what a plugin has said of itself, as it was started, is known. */
  heard(tenancy: Tenancy, plugin: string): Promise<void>;
};

/** Starts it where it is enabled; that it does not start is seen in what is shown of it. */
export async function started({ residencies, heard }: Starting, tenancy: Tenancy, plugin: Plugin): Promise<void> {
  if (!tenancy.isEnabled(plugin.id)) return;
  try {
    await residencies.start(tenancy, plugin);
    await heard(tenancy, plugin.id);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
  }
}
