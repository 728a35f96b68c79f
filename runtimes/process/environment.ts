import { dirname } from 'node:path';
import type { Command } from './command.ts';

/**
 * All that a plugin's environment holds. Stash hands down its own, secrets and all; here nothing comes from ours but
 * where programs are, and how people write here. HOME and TMPDIR are a folder for this run alone.
 */
export function environmentOf(
  command: Pick<Command, 'isPython'>,
  pluginDir: string,
  {
    scratch,
    mark,
    ours,
    more,
  }: {
    scratch: string;
    /** By which a process of this run is known that has hidden otherwise; see tree.ts. */
    mark: string;
    ours: Record<string, string | undefined>;
    /** What the configuration adds. */
    more: Record<string, string>;
  },
): Record<string, string> {
  const environment: Record<string, string> = { PATH: '/usr/local/bin:/usr/bin:/bin' };
  for (const [name, value] of Object.entries(ours)) {
    if (value !== undefined && /^(?:PATH|TZ|LANG|LANGUAGE|LC_[A-Z]+)$/.test(name)) environment[name] = value;
  }
  Object.assign(environment, more, { HOME: scratch, TMPDIR: scratch, [MARK]: mark });
  // So that plugins can import packages which are installed next to them, e.g. `py_common`.
  if (command.isPython) {
    environment.PYTHONPATH = [more.PYTHONPATH, dirname(pluginDir)].filter((one) => one !== undefined).join(':');
  }
  return environment;
}

export const MARK = 'ISOPOD_RUN';
