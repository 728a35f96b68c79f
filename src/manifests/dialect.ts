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
  /** Where its plugins are folders, and no manifest has to be there. Without it, each manifest is a plugin. */
  readonly folders?: FolderForm;
  /** `import.meta.url` of the module that exports `load`: a thread cannot be handed a function. */
  readonly module: string;
  readonly load: LoadManifest;
}

/** What makes a folder a plugin. */
export type FolderForm = {
  /** It holds one of these; the better one first. */
  readonly code: readonly string[];
  /** What its manifest is called, where it has one. */
  readonly manifest: string;
  /** Whether a manifest names the code, where that may be called anything; without it, none does. */
  namesCode?(manifest: Uint8Array): boolean;
  /** With such an ending, a single file beside the folders is a plugin, too; it has no manifest. */
  readonly files?: readonly string[];
  /** Which folder of an archive it is: the one with the best file, or of all that have any, the one closest to the top. */
  readonly inArchive: 'best' | 'nearest';
  /** Whether folders of other formats have a file like its manifest, too. */
  readonly isCommon?: boolean;
  /** The only folder to look at, where it is known by name. */
  readonly only?: string;
  /** The id that a folder of an archive gives, or the archive itself where there is none; any name will do. */
  idFrom(name: string): string;
};

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
  /** Of nothing where the format can do without a manifest, and there is none that can be read. */
  bytes: Uint8Array;
  /** Why its bytes are nothing although there is a file, in words. */
  unread?: string;
  /** The id that it was installed under, where it came in an archive. Only some formats find it nowhere else. */
  id?: string;
  /** What is in the file of permissions beside it, or why that cannot be read; undefined where there is none. */
  permissions?: Uint8Array | string;
};
