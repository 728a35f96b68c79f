import { dirname, join } from 'node:path';
import type { Bind } from '../../src/confinement/room.ts';
import type { Residency } from '../../src/core/resident.ts';
import { DEFAULT_VISITOR } from '../../src/core/serving.ts';
import type { Occupant, Rooms } from '../../src/programs/rooms.ts';
import { userDirectories } from './directories.ts';
import type { ToGuest } from './frames.ts';
import { heapMbOf } from './heap.ts';
import type { Shelf } from './modules.ts';
import { permissionFlags } from './permissions.ts';
import { placedInside, placedOutside } from './places.ts';
import type { Wire } from './wire.ts';

/** Who is started, and what it is told first. */
export type Furnished = { occupant: Occupant; boot: Omit<Extract<ToGuest, { t: 'boot' }>, 't'> };

export type Furnishing = {
  rooms: Rooms;
  wire: Wire;
  shelf: Shelf;
  /** What a request may send. */
  bodyBytes: number;
  /** What else it is to read. */
  files: readonly Bind[];
};

/** Where its application would be reached from where it runs; nobody is there. */
const URL_OF_APPLICATION = 'http://127.0.0.1:8000/';

/** What a resident stands in, and how Node is started there. */
export async function furnished(
  residency: Residency,
  { rooms, wire, shelf, bodyBytes, files }: Furnishing,
): Promise<Furnished> {
  const { tenant, plugin, grant, endpoint, limits } = residency;
  const module = plugin.program.runtime === 'node' ? plugin.program.file : null;
  const given = { home: await residency.home(), shelf, wire, isFile: module !== null };
  const places = rooms.choosesPaths ? placedInside(given) : await placedOutside(given);
  const { root, code, data, host, temporary } = places;
  const granted = grant.files.map(({ path }) => path);
  const grantedToWrite = grant.files.filter(({ mode }) => mode === 'rw').map(({ path }) => path);
  const flags = permissionFlags(
    {
      root,
      writable: [data, code, temporary, ...grantedToWrite],
      readable: [dirname(host), ...places.readable, ...granted, ...files.map(({ path }) => path)],
      sockets: [places.wire],
    },
    process.version,
  );
  const occupant: Occupant = {
    tenant,
    plugin,
    grant,
    endpoint,
    limits: { residentMb: limits.residentMb, cpuMs: Number.POSITIVE_INFINITY },
    command: {
      file: process.execPath,
      args: [`--max-old-space-size=${heapMbOf(limits.residentMb)}`, ...flags, host],
      isPython: false,
      isNative: true,
      needs: [process.execPath],
      path: dirname(process.execPath),
    },
    // The key that users are worked out from may have become known since it was opened.
    identity: wire.identity,
    own: {
      folders: [
        { path: data, from: given.home.data },
        { path: code, from: given.home.code },
      ],
      files: [...places.binds, ...files],
      environment: { ISOPOD_WIRE: places.wire, NODE_ENV: 'production', TMPDIR: temporary },
    },
  };
  const boot = {
    root,
    file: module === null ? code : join(code, module),
    kind: module === null ? ('folder' as const) : ('file' as const),
    dataRoot: data,
    user: { profile: DEFAULT_VISITOR, directories: userDirectories(data, DEFAULT_VISITOR.handle) },
    bodyBytes,
    modules: join(root, 'node_modules'),
    url: URL_OF_APPLICATION,
  };
  return { occupant, boot };
}
