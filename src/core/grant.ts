import { isWithin } from './file-path.ts';
import { covers, patternOf } from './host-pattern.ts';
import type { LimitName, Limits } from './limits.ts';

/**
 * What a plugin may have beyond its own folder and its application. A manifest may ask for it; what counts is what was
 * granted, which is nothing until somebody does. Network and limits are the tenant's to grant, files the operator's.
 */
export type Grant = {
  /** Names of hosts, e.g. `api.example.com`, `*.example.com`, `example.com:8443`. Without a port these are 80 and 443. */
  network: readonly string[];
  files: readonly FileGrant[];
  /** Lower limits for this plugin. */
  limits: Partial<Limits>;
};

/** An absolute path of this machine, which the plugin finds at the same place. */
export type FileGrant = { path: string; mode: 'ro' | 'rw' };

export const NOTHING: Grant = Object.freeze({
  network: Object.freeze([]),
  files: Object.freeze([]),
  limits: Object.freeze({}),
});

/** A grant as it is kept. */
export type KeptGrant = {
  grant: Grant;
  /** What the plugin tries to reach is written down, for whoever decides what to grant. */
  observe: boolean;
  /** Goes up with each change: the ETag. */
  revision: number;
};

export const UNGRANTED: KeptGrant = Object.freeze({ grant: NOTHING, observe: false, revision: 1 });

/** So much is granted to a plugin at most, and asked for. */
export const HOSTS_MOST = 32;
export const PATHS_MOST = 16;

/** What a plugin says that it needs. Of limits, what it cannot do with less of. */
export type Ask = Grant & {
  /** Its own words. */
  reason: string | null;
  /** Why it cannot be told what it asks for; then it asks for nothing. */
  problem: string | null;
};

export const ASKS_NOTHING: Ask = Object.freeze({ ...NOTHING, reason: null, problem: null });

/** What of an ask was not granted. `limits`: what the plugin has. */
export function missingOf(asked: Grant, granted: Grant, limits: Limits): Grant {
  const hosts = granted.network.flatMap((one) => patternOf(one) ?? []);
  return {
    network: asked.network.filter((one) => {
      const pattern = patternOf(one);
      return pattern !== null && !covers(hosts, pattern);
    }),
    files: asked.files.filter(
      ({ path, mode }) =>
        !granted.files.some((one) => isWithin(path, one.path) && (mode === 'ro' || one.mode === 'rw')),
    ),
    limits: Object.fromEntries(
      Object.entries(asked.limits).filter(([name, wanted]) => wanted > limits[name as LimitName]),
    ),
  };
}

export function isNothing({ network, files, limits }: Grant): boolean {
  return network.length === 0 && files.length === 0 && Object.keys(limits).length === 0;
}

/** A decision about somebody's way to the network. `because` is ours, `host` is what was asked for: data. */
export type EgressDecision = {
  host: string;
  port: number;
  verdict: 'allowed' | 'refused';
  because: EgressReason;
};

/** A refusal, for the log of the plugin. */
export function refusalWords({ host, port, because }: EgressDecision): string {
  const help = because === 'not granted' ? '; its permissions say what is' : '';
  return `isopod refused the way to ${JSON.stringify(port === 0 ? host : `${host}:${port}`)}: ${because}${help}`;
}

export type EgressReason =
  | 'granted'
  /** Nothing that was granted is called so. */
  | 'not granted'
  /** It is a private, loopback, link-local, metadata or otherwise special address. */
  | 'special address'
  /** No such name, or no answer. */
  | 'unresolved'
  /** More connections or bytes than it may have. */
  | 'exhausted'
  /** It is no way to name a host. */
  | 'malformed';

/** A host that a plugin has tried to reach, while it was observed. */
export type Observed = { host: string; port: number; tries: number; because: EgressReason; lastAt: Date };
