import type { Ask } from './grant.ts';
import type { Portrait } from './portrait.ts';

/**
 * What we host, as every dialect describes it in the end. Plain data: a manifest loader makes it, the engine
 * asks it, a runtime runs its program.
 */
export type Plugin = {
  /** Unique in a tenant over all dialects. */
  id: string;
  dialect: Dialect;
  /** As the manifest has it; may be empty. */
  name: string;
  description: string | null;
  url: string | null;
  version: string | null;
  /** Absolute path of the folder that holds the manifest. */
  dir: string;
  /**
   * The same folder without links, as it was when the manifest was found. What is served of the plugin lies in there,
   * whatever its own program has put in the folder's place since.
   */
  realDir: string;
  /** The folder, without links, that was copied for its tenant alone and that its programs may write to. */
  ownDir?: string;
  /** Absolute path of the manifest; of some formats it may be that there is none. */
  manifestFile: string;
  /** What its folder is called where its program finds it, of a format whose programs know that name. */
  folder?: string;
  /** The same for as long as none of its files has changed, where that is looked at. */
  stamp?: string;
  /** The absolute path, without links, of its picture; null where it has none. */
  logo?: string | null;
  program: Program;
  entries: Entry[];
  settings: Setting[];
  ui: UserInterface | null;
  /** Level of unmarked stderr lines, as written in the manifest. */
  errLog: string | null;
  /** What it asks to be granted; undefined where nobody has written that down. */
  asks?: Ask;
  /** What its manifest tells people, of a format in which its code may tell more; null where it has no manifest. */
  portrait?: Portrait | null;
  /** What was left out of its manifest, in sentences for its author; undefined where nothing was. */
  warnings?: readonly string[];
};

export type Dialect = 'stash' | 'dispatcharr' | 'sillytavern';

/** Whether a plugin may be run before anybody has said so: where its host asks for trust first, so do we. */
export function isEnabledAtFirst({ dialect }: Pick<Plugin, 'dialect'>): boolean {
  return dialect === 'stash';
}

export type Program =
  /** `file` is relative to the plugin's folder, as the manifest has it; null when it names none. */
  | { runtime: 'isolate'; file: string | null }
  | { runtime: 'process'; exec: string[]; speaks: 'raw' | 'rpc' }
  /** A class in Python that is loaded once and stays. Contract: Dispatcharr `apps/plugins/loader.py`. */
  | { runtime: 'python' }
  /**
   * A module for Node that registers routes, and stays: a folder, or one file of a folder with others. Contract:
   * SillyTavern `src/plugin-loader.js`.
   */
  | { runtime: 'node'; file: string | null }
  /** Nothing to run: a plugin of user interface parts only. */
  | { runtime: 'none' };

export type Entry =
  | { kind: 'task'; name: string; description: string; execArgs: string[]; defaultArgs: Record<string, string> }
  | {
      kind: 'hook';
      name: string;
      description: string;
      execArgs: string[];
      defaultArgs: Record<string, string>;
      triggeredBy: string[];
    }
  /** A button; `triggeredBy` are events at which it is pressed by itself. Its arguments may be anything. */
  | { kind: 'action'; name: string; label: string; description: string; triggeredBy: readonly string[] }
  /** Arbitrary arguments, no defaults. */
  | { kind: 'operation' };

export type Setting = { key: string; type: 'STRING' | 'NUMBER' | 'BOOLEAN'; displayName: string; description: string };

export type UserInterface = {
  requires: string[];
  javascript: string[];
  css: string[];
  assets: Record<string, string>;
  csp: { 'script-src': string[]; 'style-src': string[]; 'connect-src': string[] };
};

/** Whether its program answers requests of its own, and nothing else. */
export function isServer({ program }: Pick<Plugin, 'program'>): boolean {
  return program.runtime === 'node';
}

/** Whether its program stays between calls. */
export function isResident({ program }: Pick<Plugin, 'program'>): boolean {
  return program.runtime === 'python' || program.runtime === 'node';
}

/** Whether its folder holds nothing but this plugin. */
export function isWholeFolder({ program }: Pick<Plugin, 'program'>): boolean {
  return program.runtime !== 'node' || program.file === null;
}

/** A manifest that was refused: which file, where in it, and why. Line and column count from 1. */
export type Refusal = { file: string; line: number | null; column: number | null; reason: string };

export type Verdict = { ok: true; plugin: Plugin } | { ok: false; refusal: Refusal };

/** The file beside a manifest in which a plugin asks for what it needs: `a.b.yml` has `a.b.permissions.yaml`. */
export function permissionsFileOf(manifest: string): string {
  return `${manifest.slice(0, manifest.lastIndexOf('.'))}.permissions.yaml`;
}

/** What stands before each line that a plugin logs, as Stash writes it. A long name is cut, since every line has it. */
export function logPrefix({ id, name }: Pick<Plugin, 'id' | 'name'>): string {
  return `[Plugin / ${(name === '' ? id : name).slice(0, NAME_LETTERS)}] `;
}

const NAME_LETTERS = 200;
