import type { Limits } from './limits.ts';

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

/** A decision about somebody's way to the network. `because` is ours, `host` is what was asked for: data. */
export type EgressDecision = {
  host: string;
  port: number;
  verdict: 'allowed' | 'refused';
  because: EgressReason;
};

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
