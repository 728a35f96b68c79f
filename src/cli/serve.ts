import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { type Config, ConfigError, configuredApplications, loadConfig } from '../config.ts';
import { shortfallOf } from '../core/isolation.ts';
import type { Plugin } from '../core/plugin.ts';
import { DEFAULT_TENANT } from '../core/tenant.ts';
import { writtenOut } from '../core/text.ts';
import { startService } from '../main.ts';
import type { Service } from '../service.ts';

export type ServeOptions = { config?: string; host?: string; port?: string };

/** Serves until a signal ends it. Resolves with the exit code once everything has ended. */
export async function serve({ config: file, host, port }: ServeOptions): Promise<number> {
  const config = loadConfig({
    env: process.env,
    cwd: process.cwd(),
    file,
    flags: [
      { flag: '--host', setting: 'host', text: host },
      { flag: '--port', setting: 'port', text: port },
    ],
  });
  const service = await started(config);
  // Before anything is printed: whoever reads that we are ready may signal at once.
  const asked = firstSignal();
  say(`isopod is ready at ${service.url}`);
  await greet(service, config);

  const signal = await asked;
  say(`${signal}: ${service.running} running, which have ${config.drainMs} ms to finish; what comes is refused`);
  say('The same signal again ends it at once');
  await service.close();
  say('isopod has ended');
  return 0;
}

async function started(config: Config): Promise<Service> {
  try {
    return await startService(config, undefined, say);
  } catch (error) {
    const words = WORDS[(error as { code?: string }).code ?? ''];
    if (words === undefined) throw error;
    throw new ConfigError([
      `${config.host} port ${config.port} ${words}: choose another with --host, --port or isopod.yaml`,
    ]);
  }
}

const WORDS: Record<string, string> = {
  EADDRINUSE: 'is in use already',
  EADDRNOTAVAIL: 'is not an address of this machine',
  EACCES: 'may not be listened on',
  ENOTFOUND: 'is not an address',
};

// The second signal finds no listener of ours, and does what signals do.
function firstSignal(): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  const heard = (signal: NodeJS.Signals) => {
    process.off('SIGTERM', heard).off('SIGINT', heard);
    resolve(signal);
  };
  process.on('SIGTERM', heard).on('SIGINT', heard);
  return promise;
}

async function greet({ url, parts, catalogue }: Service, config: Config): Promise<void> {
  const { pluginsDir, tokens } = config;
  const { plugins, refused } = catalogue;
  const hasApplication = configuredApplications(config).targets.has(DEFAULT_TENANT);
  const where = relative('', pluginsDir) || '.';
  if (!existsSync(pluginsDir)) say(`There is no folder ${where}: set ISOPOD_PLUGINS_DIR, or make it`);
  say(`Plugins: ${plugins.size} in ${where}${refused.length > 0 ? `, and ${refused.length} manifests refused:` : ''}`);
  for (const { file, line, column, reason } of refused.slice(0, 10)) {
    say(`  ${[file, line, column].filter((one) => one !== null).join(':')}: ${reason}`);
  }
  if (refused.length > 10) say('  … all of them at GET /v1/plugins');
  warn(plugins.values());
  for (const sentence of parts.confinement) say(`Confinement: ${sentence}`);
  for (const [kind, isolation] of parts.isolations.all()) {
    const { tier, grade } = isolation;
    const why = shortfallOf(isolation);
    if (tier !== 'unknown') say(`Isolation of ${kind}: ${grade}${why === null ? '' : `. ${why}`}`);
  }
  if (!hasApplication) say('Application: none; ISOPOD_APPLICATION_URL names one that plugins may call');
  for (const plugin of plugins.values()) {
    if (!hasApplication && (await callsBack(plugin))) continue;
    const example = curl(url, plugin, tokens.length > 0);
    if (example === null) continue;
    say(`Try:\n  ${example}`);
    break;
  }
  say(`API reference: ${url}/docs`);
}

function warn(plugins: Iterable<Plugin>): void {
  const all = [...plugins].flatMap(({ id, warnings = [] }) => warnings.map((sentence) => ({ id, sentence })));
  for (const { id, sentence } of all.slice(0, 10)) say(`Plugin ${id}: ${sentence}`);
  if (all.length > 10) say('  … all warnings at GET /v1/plugins');
}

/** Whether the source speaks of the application. Good enough to choose an example by, and for nothing else. */
async function callsBack({ dir, program }: Plugin): Promise<boolean> {
  if (program.runtime !== 'isolate' || program.file === null) return true;
  const source = await readFile(join(dir, program.file), 'utf8').catch(() => 'gql');
  return /\bgql\b/.test(source);
}

/** A line that works as pasted, for the first task of an embedded plugin. */
function curl(url: string, { id, program, entries }: Plugin, tokens: boolean): string | null {
  const task = entries.find((one) => one.kind === 'task');
  if (program.runtime !== 'isolate' || task === undefined) return null;
  const body = JSON.stringify({ task: task.name });
  // A name that does not look on paper what it is makes no example.
  if (writtenOut(body) !== body) return null;
  const path = `${url}/v1/plugins/${encodeURIComponent(id)}/invocations?include=logs`;
  const token = tokens ? ` -H 'Authorization: Bearer <token>'` : '';
  return `curl -s${token} -H 'Content-Type: application/json' -d ${quoted(body)} ${quoted(path)}`;
}

/** For a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function say(line: string): void {
  process.stdout.write(`${writtenOut(line)}\n`);
}
