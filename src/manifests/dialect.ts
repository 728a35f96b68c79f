import type { Dialect, Verdict } from '../core/plugin.ts';

/**
 * One way of writing manifests. A dialect only turns bytes into a verdict: it opens no file and knows no clock,
 * so that its loader can be run in a thread that is thrown away when a manifest is too much for it.
 */
export interface ManifestDialect {
  readonly name: Dialect;
  /** The folder below the plugins folder that is walked for this dialect. */
  readonly folder: string;
  /** What a package of it must hold, in words. */
  readonly expected: string;
  /** Whether a file of this name is a manifest. */
  isManifest(fileName: string): boolean;
  /** `import.meta.url` of the module that exports `load`: a thread cannot be handed a function. */
  readonly module: string;
  readonly load: LoadManifest;
}

/** Never throws for anything that the bytes hold. */
export type LoadManifest = (source: ManifestSource) => Verdict;

/** What the module of a dialect exports for the thread. */
export type DialectModule = { load: LoadManifest };

export type ManifestSource = {
  /** Relative to the plugins folder, for refusals: a caller is not told where on this machine it is. */
  file: string;
  /** Absolute path of the manifest. */
  path: string;
  /** The folder that it is in, without links; where it is not given, there are none. */
  realDir?: string;
  bytes: Uint8Array;
  /** What is in the file of permissions beside it, or why that cannot be read; undefined where there is none. */
  permissions?: Uint8Array | string;
};
