import type { Verdict } from '../core/plugin.ts';
import type { DialectModule, ManifestSource } from './dialect.ts';

/** What runs in the thread: see reader.ts. */
export async function load(task: { module: string; sources: readonly ManifestSource[] }): Promise<Verdict[]> {
  const dialect = (await import(task.module)) as DialectModule;
  return task.sources.map(dialect.load);
}
