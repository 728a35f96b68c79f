import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { alone, assemble } from '../assembly.ts';
import { type Config, ConfigError, loadConfig } from '../config.ts';
import { Failure } from '../core/failure.ts';
import { pathProblem } from '../core/file-path.ts';
import { type FileGrant, type Grant, type KeptGrant, UNGRANTED } from '../core/grant.ts';
import { patternOf, written } from '../core/host-pattern.ts';
import type { Request } from '../core/invocation.ts';
import { isResident, isServer, type Plugin } from '../core/plugin.ts';
import { type PluginState, UNTOUCHED } from '../core/store.ts';
import { DEFAULT_TENANT } from '../core/tenant.ts';
import { writtenOut } from '../core/text.ts';
import type { Catalogue } from '../engine/catalogue.ts';
import type { EgressAttempt } from '../engine/invoker.ts';
import { nobody } from '../engine/nobody.ts';
import { HOST_WORDS } from '../engine/permissions.ts';
import { DIALECTS, openParts } from '../main.ts';
import type { ManifestDialect } from '../manifests/dialect.ts';
import { EXIT } from './exit.ts';
import { report } from './report.ts';

export type RunOptions = {
  task?: string;
  args?: string;
  plugin?: string;
  settings?: string;
  application?: string;
  applicationApiKeyEnv?: string;
  allowNetwork?: string[];
  allowFiles?: string[];
  config?: string;
  json?: boolean;
};

/** Takes one plugin through the same path as the service does, without a server. Resolves with the exit code. */
export async function run(folder: string, options: RunOptions): Promise<number> {
  const args = objectIn('--args', options.args);
  const settings = objectIn('--settings', options.settings);
  const grant = grantOf(options);
  const dir = resolve(folder);
  if (!(await stat(dir).catch(() => null))?.isDirectory()) throw new ConfigError(await notAFolder(folder));
  const config = loadConfig({
    env: process.env,
    cwd: process.cwd(),
    file: options.config,
    flags: [
      { flag: '--application', setting: 'applicationUrl', text: options.application },
      {
        flag: `--application-api-key-env ${options.applicationApiKeyEnv}`,
        setting: 'applicationApiKey',
        text: variable(options.applicationApiKeyEnv),
      },
    ],
  });

  await using scope = new AsyncDisposableStack();
  // Nothing is left behind where the author works.
  const dataDir = await mkdtemp(join(tmpdir(), 'isopod-run-'));
  scope.defer(() => rm(dataDir, { recursive: true, force: true }));
  const small: Config = {
    ...config,
    dataDir,
    pluginsDir: dirname(dir),
    executors: { ...config.executors, spares: 0 },
    residents: { ...config.residents, start: 'demand' },
  };
  const dialects = DIALECTS.map((dialect) => within(dialect, basename(dir)));
  const parts = scope.use(await openParts(small, dialects));
  // Nobody waits for it who would run it anyway.
  if (config.isolation.least !== 'none') await parts.isolations.check();
  const grants = new Map<string, KeptGrant>();
  const states = new Map<string, PluginState>();
  const said = new Set<string>();
  const onEgress = ({ verdict, host, port, because }: EgressAttempt) => {
    const line = `${verdict} ${host}:${port}: ${because}`;
    if (verdict === 'allowed' || options.json === true || said.has(line)) return;
    said.add(line);
    process.stderr.write(`${writtenOut(line)}${because === 'not granted' ? ` (--allow-network ${host})` : ''}\n`);
  };
  const engine = scope.use(
    await assemble({
      config: small,
      parts,
      records: alone(grants, states),
      desk: () => ({ ...nobody, settings: () => settings }),
      onSettled: () => {},
      onEgress,
    }),
  );
  const plugin = pick(engine.tenancies.default.catalogue, folder, options.plugin);
  if (options.json !== true) for (const one of plugin.warnings ?? []) process.stderr.write(`${writtenOut(one)}\n`);
  if (isServer(plugin)) throw new ConfigError(serverHowTo(plugin));
  grants.set(plugin.id, { ...UNGRANTED, grant });
  // Whoever names it trusts it.
  states.set(plugin.id, { ...UNTOUCHED, enabled: true });
  await engine.tenancies.learn(DEFAULT_TENANT, 'grants', 'plugin_states');

  const request: Request = { tenant: DEFAULT_TENANT, plugin: plugin.id, args };
  if (options.task !== undefined) request.task = options.task;
  const running = engine.invoker.invoke(request);
  const interrupt = () => running.stop(new Failure('cancelled', 'Interrupted'));
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const tasks = plugin.entries.flatMap((one) => (one.kind === 'task' ? [JSON.stringify(one.name)] : []));
  if (options.task === undefined && options.json !== true && tasks.length > 0) {
    process.stderr.write(`This is an operation; there are also tasks: ${writtenOut(tasks.join(', '))} (--task NAME)\n`);
  }
  const settled = await running.settled;
  process.off('SIGINT', interrupt).off('SIGTERM', interrupt);

  report(settled, options.json === true);
  return settled.outcome.ok ? EXIT.ok : exitOf(settled.outcome.failure);
}

function exitOf({ code, blame }: Failure): number {
  if (code === 'cancelled') return EXIT.interrupted;
  return { caller: EXIT.usage, plugin: EXIT.plugin, application: EXIT.plugin, host: EXIT.host }[blame];
}

/** Not the key itself: everybody on this machine sees command lines. */
function variable(name: string | undefined): string | undefined {
  const text = name === undefined ? undefined : process.env[name];
  if (name !== undefined && text === undefined) {
    throw new ConfigError([`--application-api-key-env: there is no variable ${name}`]);
  }
  return text;
}

/** What the command line grants. */
function grantOf({ allowNetwork = [], allowFiles = [] }: RunOptions): Grant {
  const network = allowNetwork.map((text) => {
    const pattern = patternOf(text);
    if (pattern === null) throw new ConfigError([`--allow-network ${text} ${HOST_WORDS}`]);
    return written(pattern);
  });
  const files = allowFiles.map((text): FileGrant => {
    const [, path = '', mode = 'ro'] = /^(.*?)(?::(ro|rw))?$/s.exec(text) ?? [];
    const whole = resolve(path);
    const problem = path === '' ? 'names nothing' : pathProblem(whole);
    if (problem !== null) throw new ConfigError([`--allow-files ${text} ${problem}`]);
    return { path: whole, mode: mode === 'rw' ? 'rw' : 'ro' };
  });
  return { network, files, limits: {} };
}

function objectIn(option: string, json: string | undefined): Record<string, unknown> {
  if (json === undefined) return {};
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw new ConfigError([`${option} is not JSON: ${(error as Error).message}`]);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new ConfigError([`${option} must be a JSON object such as '{"key": "value"}'`]);
}

/** The dialect with nothing but that folder to look at. */
function within(dialect: ManifestDialect, folder: string): ManifestDialect {
  const { folders } = dialect;
  return folders === undefined
    ? { ...dialect, folder }
    : { ...dialect, folder: '.', folders: { ...folders, only: folder } };
}

/** Formats in the order in which a folder is taken for one of theirs: the less it takes, the later. */
function rankOf(plugin: Plugin): number {
  if (isServer(plugin)) return 2;
  return isResident(plugin) ? 1 : 0;
}

/** What is a plugin beside others, of a format that has such files, cannot be told from any other file alone. */
async function notAFolder(folder: string): Promise<string[]> {
  const is = `${folder} is not a folder`;
  const path = resolve(folder);
  const dialect = DIALECTS.find(({ folders }) => folders?.files?.includes(extname(path)));
  if (dialect === undefined || !(await stat(path).catch(() => null))?.isFile()) return [is];
  const verdict = dialect.load({ file: basename(path), path, bytes: new Uint8Array(0) });
  if (!verdict.ok) return [is, `as a single file it is no plugin either: ${verdict.refusal.reason}`];
  return [`${is}; as a single file it can only be a SillyTavern server plugin`, ...serverHowTo(verdict.plugin)];
}

/** It has nothing that is run once. */
function serverHowTo({ id }: Plugin): string[] {
  return [
    `Plugin "${id}" has nothing that is run once: it answers HTTP requests below /api/plugins/, where its info.id is what comes next`,
    `put it into the folder sillytavern of ISOPOD_PLUGINS_DIR and start the service with ISOPOD_SILLYTAVERN_ENABLED=true`,
    `enable it with POST /v1/plugins/${id}/enable; GET /v1/plugins/${id}/routes lists its routes, and GET /v1/plugins/${id}/logs what it says`,
  ];
}

function pick({ plugins, refused }: Catalogue, folder: string, id: string | undefined): Plugin {
  const why = refused.map(
    ({ file, line, column, reason }) => `${[file, line, column].filter((one) => one !== null).join(':')}: ${reason}`,
  );
  const ids = [...plugins.keys()].join(', ');
  if (id !== undefined) {
    const plugin = plugins.get(id);
    if (plugin !== undefined) return plugin;
    const known = plugins.size === 0 ? 'there are none' : `there are ${ids}`;
    throw new ConfigError([...why, `There is no plugin ${id} in ${folder}: ${known}`]);
  }
  // A plugin of another format may have any file in its folder; a mistake in its manifest makes it nothing else.
  const ranked = [...plugins.values()].sort((one, other) => rankOf(one) - rankOf(other));
  const [first, second] = ranked.filter((one) => rankOf(one) === rankOf(ranked[0] as Plugin));
  // What of a folder is refused as a whole is so as it is a plugin of another format.
  const isMistaken = refused.some(({ file }) => file !== basename(resolve(folder)));
  if (first === undefined || (isMistaken && first.portrait === null)) {
    const expected = `There is no plugin in ${folder}: a Stash plugin has a .yml file, a Dispatcharr plugin plugin.py, a SillyTavern server plugin index.js`;
    throw new ConfigError(why.length > 0 ? why : [expected]);
  }
  if (second !== undefined)
    throw new ConfigError([`There are several plugins in ${folder}: pick one with --plugin, of ${ids}`]);
  return first;
}
