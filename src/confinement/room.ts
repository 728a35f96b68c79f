import { normalize } from 'node:path';

/** What a program finds around it. Paths are absolute, and of this machine unless they are said to be inside. */
export type Room = {
  /** Where it stands and may write, which goes with the run: `/tmp` where that can be. Null where it writes nothing. */
  scratch: string | null;
  /** What is there beside the system's own programs. Of two that are below each other the outer comes first. */
  binds: readonly Bind[];
  /** Empty folders that it expects to be there. */
  folders: readonly string[];
  /** Its only way out; null has none. */
  gateway: RoomGateway | null;
  /** Whom it runs as where we are root. */
  identity: number;
};

export type Bind = {
  path: string;
  /** Where it lies in truth, if that is somewhere else. */
  from?: string;
  mode: 'ro' | 'rw';
};

export type RoomGateway = {
  /** A unix socket on which we listen. */
  socket: string;
  /** At which it finds that, on 127.0.0.1 and ::1. */
  port: number;
};

/** Where a program stands that has a file system of its own; it is its HOME and its TMPDIR, too. */
export const INSIDE = '/tmp';
/** Where the socket of the gateway is inside. */
export const SOCKET_INSIDE = '/run/isopod/gateway.sock';
/** What a run may write, in bytes, into memory-backed folders of its own. */
export const TMP_BYTES = 64 << 20;
export const SHM_BYTES = 16 << 20;

/** All folders above a path, outermost first, without the root. */
export function above(path: string): string[] {
  const parts = path.split('/').slice(1, -1);
  return parts.map((_, at) => `/${parts.slice(0, at + 1).join('/')}`);
}

/** What every room has of this machine, at its own place. */
export function isOfSystem(path: string): boolean {
  return /^\/(usr|bin|sbin|lib|lib64)\//.test(path) && normalize(path) === path;
}

/** A program that is not where all of them are. */
export function outsideOfSystem(file: string): Bind[] {
  return isOfSystem(file) ? [] : [{ path: file, mode: 'ro' }];
}
