/** What the program of a plugin is to get at, all of it absolute and as the program sees it. */
export type Reach = {
  /** Its root, with all that is below. */
  root: string;
  /** What it may change: its data, its own folder, a place for temporary files. */
  writable: readonly string[];
  /** What else it may read: the host, what was granted, what the root leads to by links. */
  readable: readonly string[];
  /** The sockets of the host. */
  sockets: readonly string[];
};

/** Whoever looks whether there is a program looks here. */
const SYSTEM = ['/usr', '/bin', '/dev/null', '/dev/urandom'];

/**
 * Node's own permission model, as a wall inside of the room's. It holds off what a plugin does in JavaScript: files outside
 * of its reach, whichever way they are named, native addons, the inspector, WASI and foreign functions; worker threads and
 * children that are Node have the same wall. It does not hold off programs: what the plugin starts (ffmpeg, git) reads what
 * the room lets it, and could make links that lead out. Nor is the network its matter: where Node asks for that (from 25 on),
 * it is given, as without it there is no socket at all.
 *
 * What plugins cannot do behind it: load native addons (better-sqlite3, sharp; Node's own SQLite works), make symbolic
 * links, change modes, owners and times of files by their descriptors, and look for files elsewhere: even `existsSync`
 * throws then. `fsync` is refused too, and does nothing instead (`guest/syncing.mjs`).
 */
export function permissionFlags({ root, writable, readable, sockets }: Reach, version: string): string[] {
  const writes = [...writable.map(below), ...sockets, '/dev/null'];
  const reads = [below(root), ...readable.flatMap(both), ...SYSTEM.flatMap(both), ...writes];
  const major = Number.parseInt(version.replace(/^v/, ''), 10);
  return [
    '--permission',
    ...new Set(reads.map((path) => `--allow-fs-read=${path}`)),
    ...new Set(writes.map((path) => `--allow-fs-write=${path}`)),
    '--allow-child-process',
    '--allow-worker',
    ...(major >= 25 ? ['--allow-net'] : []),
    // Each of these flags has a warning, which would stand in the log of every plugin.
    ...['PERM0002', 'PERM0006', 'ExperimentalWarning'].map((warning) => `--disable-warning=${warning}`),
  ];
}

/** A folder with all that is in it, also what is not there yet. */
function below(folder: string): string {
  return `${folder}/*`;
}

function both(path: string): string[] {
  return [path, below(path)];
}
