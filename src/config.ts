import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import ipaddr from 'ipaddr.js';
import { Value } from 'typebox/value';
import { configuredApplications } from './config/applications.ts';
import { ConfigError } from './config/check.ts';
import { credentialLeaf, FILE_VARIABLE, type Given, readEnvironment, readText } from './config/environment.ts';
import { readFile } from './config/file.ts';
import { type Config, leaves, Settings } from './config/schema.ts';
import { patternOf } from './core/host-pattern.ts';

export type Sources = {
  env: Record<string, string | undefined>;
  cwd: string;
  /** The file to read, where the command line names one. */
  file?: string | undefined;
  /** Settings from the command line. */
  flags?: readonly Flag[];
};

/** `flag` is what the user wrote, e.g. `--application`. */
export type Flag = { flag: string; setting: keyof Config; text: string | undefined };

/**
 * The settings of this start: the command line counts over the environment, that over the file, that over the
 * defaults. Throws a ConfigError with every sentence there is to say, not only the first.
 */
export function loadConfig({ env, cwd, file, flags = [] }: Sources): Config {
  const problems: string[] = [];
  const named = file ?? env[FILE_VARIABLE];
  let values: Record<string, unknown> = {};
  try {
    if (named === undefined && existsSync(resolve(cwd, 'isopod.yml'))) {
      throw new ConfigError(['isopod.yml is not read: call it isopod.yaml, or name it with --config']);
    }
    values = readFile(resolve(cwd, named ?? 'isopod.yaml'), named !== undefined);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.sentences);
  }
  lay(readEnvironment(env, cwd, problems), values);
  lay(readFlags(flags, cwd, problems), values);
  lay(readCredentials(values, env, cwd, problems), values);
  if (problems.length > 0) throw new ConfigError(problems);

  const config = completed(values, cwd);
  const contradictions = disagreements(config);
  if (contradictions.length > 0) throw new ConfigError(contradictions);
  return config;
}

/** `values` with the default of everything that is not set; what is set has been checked before. */
export function completed(values: Record<string, unknown>, cwd: string): Config {
  const whole: Record<string, unknown> = structuredClone(values);
  for (const { path, schema } of leaves()) {
    if (schema.default === undefined || has(whole, path)) continue;
    const preset = structuredClone(schema.default);
    put(whole, path, schema.path === true && typeof preset === 'string' ? resolve(cwd, preset) : preset);
  }
  // What has names of the user's own is no leaf.
  for (const name of ['plugins', 'applications', 'credentials']) whole[name] ??= {};
  for (const place of [
    ['processes', 'environment'],
    ['dispatcharr', 'applications'],
  ]) {
    if (!has(whole, place)) put(whole, place, {});
  }
  Value.Assert(Settings, whole);
  return whole;
}

/** What is the application's credential: which of them is set says how it is shown. */
const CREDENTIALS: ReadonlySet<string> = new Set(['applicationApiKey', 'applicationHeader', 'applicationCookie']);

function lay(given: readonly Given[], values: Record<string, unknown>): void {
  // One that is given here counts over each that was given before, whichever it is.
  if (given.some(({ leaf }) => CREDENTIALS.has(leaf.path[0] ?? ''))) for (const one of CREDENTIALS) delete values[one];
  for (const { leaf, value } of given) put(values, leaf.path, value);
}

/** The variables that applications name, so that nobody reads the environment later. */
function readCredentials(
  values: Record<string, unknown>,
  env: Sources['env'],
  cwd: string,
  problems: string[],
): Given[] {
  const applications = Object.values(values.applications ?? {}) as Record<string, unknown>[];
  const names = applications.flatMap((one) =>
    Object.values(one).flatMap((part) => (part as { env?: string })?.env ?? []),
  );
  return names.flatMap((name) => {
    const text = Object.hasOwn(env, name) ? env[name] : undefined;
    return (text === undefined ? null : readText(credentialLeaf(name), text, cwd, name, problems)) ?? [];
  });
}

function readFlags(flags: readonly Flag[], cwd: string, problems: string[]): Given[] {
  const given: Given[] = [];
  for (const { flag, setting, text } of flags) {
    const leaf = leaves().find(({ path }) => path.length === 1 && path[0] === setting);
    if (text === undefined || leaf === undefined) continue;
    const one = readText(leaf, text, cwd, flag, problems);
    if (one !== null) given.push(one);
  }
  return given;
}

/** Variables that each run of an external program has for itself. */
const OURS: ReadonlySet<string> = new Set(['HOME', 'TMPDIR', 'ISOPOD_RUN']);

/** Settings that are fine by their schema and still cannot be used. */
function disagreements(config: Config): string[] {
  const { executors, quarantine, gateway, requestBytes, requestBytesAtOnce, processes, pythonPath } = config;
  const sentences: string[] = [];
  if (executors.spares > executors.most) {
    sentences.push(`executors.spares (${executors.spares}) must not be more than executors.most (${executors.most})`);
  }
  for (const name of Object.keys(processes.environment)) {
    if (!OURS.has(name)) continue;
    sentences.push(`processes.environment.${name} cannot be set: each run has its own`);
  }
  if (pythonPath !== undefined && !existsSync(pythonPath)) sentences.push(`pythonPath: there is no ${pythonPath}`);
  if (requestBytes > requestBytesAtOnce) {
    sentences.push(`requestBytes (${requestBytes}) must not be more than requestBytesAtOnce (${requestBytesAtOnce})`);
  }
  const { archiveBytes } = config.packages;
  if (archiveBytes > requestBytesAtOnce) {
    sentences.push(
      `packages.archiveBytes (${archiveBytes}) must not be more than requestBytesAtOnce (${requestBytesAtOnce})`,
    );
  }
  if (quarantine.firstMs > quarantine.longestMs) {
    sentences.push(
      `quarantine.firstMs (${quarantine.firstMs}) must not be more than quarantine.longestMs (${quarantine.longestMs})`,
    );
  }
  if (gateway.answerBytes > gateway.answerBytesAtOnce) {
    sentences.push(
      `gateway.answerBytes (${gateway.answerBytes}) must not be more than gateway.answerBytesAtOnce (${gateway.answerBytesAtOnce})`,
    );
  }
  for (const range of config.egress.ranges) {
    // Others read 10.1/16 in more ways than one.
    if (ipaddr.IPv4.isValidCIDRFourPartDecimal(range) || ipaddr.IPv6.isValidCIDR(range)) continue;
    sentences.push(`egress.ranges: ${range} is no range of addresses: one looks like 192.168.1.0/24 or fd12:3456::/32`);
  }
  for (const host of config.dispatcharr.repos) {
    if (patternOf(host) !== null) continue;
    sentences.push(`dispatcharr.repos: ${host} is no host: one looks like plugins.example.com or *.example.com:8443`);
  }
  return [...sentences, ...configuredApplications(config).problems];
}

function has(values: Record<string, unknown>, [first = '', ...rest]: readonly string[]): boolean {
  const value = values[first];
  return rest.length === 0 ? value !== undefined : value !== undefined && has(value as Record<string, unknown>, rest);
}

function put(values: Record<string, unknown>, [first = '', ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) {
    values[first] = value;
    return;
  }
  values[first] ??= {};
  put(values[first] as Record<string, unknown>, rest, value);
}

export type { Config };
export { ConfigError, configuredApplications };
