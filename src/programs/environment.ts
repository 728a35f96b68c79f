import { dirname } from 'node:path';
import { MARK } from '../confinement/tree.ts';
import type { Command } from './command.ts';

/**
 * All that a plugin's environment holds. Stash hands down its own, secrets and all; here nothing comes from ours but
 * where programs are, and how people write here. HOME and TMPDIR are a folder for this run alone.
 */
export function environmentOf(
  command: Pick<Command, 'isPython' | 'path'>,
  pluginDir: string,
  {
    scratch,
    proxy,
    mark,
    ours,
    more,
    own,
  }: {
    /** The folder of this run, as the program sees it. */
    scratch: string;
    /** The port of this machine, as the program sees it, through which it gets to what it was granted; null has none. */
    proxy: number | null;
    /** By which a process of this run is known that has hidden otherwise; see tree.ts. */
    mark: string;
    ours: Record<string, string | undefined>;
    /** What the configuration adds. */
    more: Record<string, string>;
    /** What this occupant has of its own, instead of what is beside the plugin's folder; null has none. */
    own: Readonly<Record<string, string>> | null;
  },
): Record<string, string> {
  const environment: Record<string, string> = { PATH: '/usr/local/bin:/usr/bin:/bin' };
  for (const [name, value] of Object.entries(ours)) {
    if (value !== undefined && /^(?:PATH|TZ|LANG|LANGUAGE|LC_[A-Z]+)$/.test(name)) environment[name] = value;
  }
  if (command.path !== null) environment.PATH = `${command.path}:${environment.PATH}`;
  if (proxy !== null) Object.assign(environment, proxied(proxy));
  Object.assign(environment, more, { HOME: scratch, TMPDIR: scratch, [MARK]: mark });
  if (own !== null) return { ...environment, ...own };
  // So that plugins can import packages which are installed next to them, e.g. `py_common`.
  if (command.isPython) {
    environment.PYTHONPATH = [more.PYTHONPATH, dirname(pluginDir)].filter((one) => one !== undefined).join(':');
  }
  return environment;
}

/** As Python, Node and curl have it: each reads other names. */
function proxied(port: number): Record<string, string> {
  const url = `http://127.0.0.1:${port}`;
  const around = 'localhost,127.0.0.1,::1';
  return {
    ...{ HTTP_PROXY: url, HTTPS_PROXY: url, http_proxy: url, https_proxy: url },
    ...{ NO_PROXY: around, no_proxy: around, NODE_USE_ENV_PROXY: '1' },
  };
}
