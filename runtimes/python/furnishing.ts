import { chmod, copyFile, lstat, mkdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Bind } from '../../src/confinement/room.ts';
import { Failure } from '../../src/core/failure.ts';
import type { Home, Residency } from '../../src/core/resident.ts';
import type { Interpreter, Programs } from '../../src/programs/programs.ts';
import type { Occupant, Rooms } from '../../src/programs/rooms.ts';

/** Where the application itself is on this machine, so that a plugin finds the real thing. */
export type HostApplication = {
  /** Its interpreter; without it the one that all plugins have. */
  python?: string;
  /** Folders with its modules, which the plugin may read. */
  pythonPath?: readonly string[];
  settingsModule: string;
};

/** Where a plugin finds itself, its data and its host's code, as its host has it where that can be. */
export type Places = { dir: string; pluginsDir: string; occupant: Occupant };

export type Furnishing = {
  rooms: Rooms;
  programs: Programs;
  application: HostApplication | null;
  /** What else it is to read. */
  files: readonly Bind[];
};

const DATA = '/data';
const PLUGINS = '/data/plugins';
const HOST = '/run/isopod/host.py';
const SOURCE = fileURLToPath(new URL('./guest/host.py', import.meta.url));

/**
 * What a resident stands in. Contract: Dispatcharr keeps plugins in `/data/plugins`, and they write to `/data`. Where no room
 * of its own can be laid out, it finds its folders where they lie.
 */
export async function furnished(
  residency: Residency,
  { rooms, programs, application, files }: Furnishing,
): Promise<Places> {
  const { tenant, plugin, grant, endpoint, limits } = residency;
  const home = await residency.home();
  const python = await interpreter(programs, application);
  const host = await hostIn(rooms.folder);
  const folder = basename(home.code);
  const chosen = rooms.choosesPaths;
  const [data, dir] = chosen ? [DATA, join(PLUGINS, folder)] : [home.data, home.code];
  if (chosen) await mountpoint(home, ['plugins', folder]).catch(unentered);
  const environment: Record<string, string> = {
    DISPATCHARR_PLUGINS_DIR: dirname(dir),
    ISOPOD_DATA: data,
    // What it writes there of its own accord would make a new version of it look like the old one.
    PYTHONDONTWRITEBYTECODE: '1',
    ...(application === null ? {} : { DJANGO_SETTINGS_MODULE: application.settingsModule }),
    ...(application?.pythonPath === undefined ? {} : { PYTHONPATH: application.pythonPath.join(':') }),
  };
  const modules = (application?.pythonPath ?? []).map((path): Bind => ({ path, mode: 'ro' }));
  const occupant: Occupant = {
    tenant,
    plugin,
    grant,
    endpoint,
    limits: { residentMb: limits.residentMb, cpuMs: Number.POSITIVE_INFINITY },
    command: {
      ...python,
      needs: [...python.needs, python.file],
      args: ['-u', chosen ? HOST : host],
      isPython: true,
      isNative: false,
      path: null,
    },
    own: {
      folders: [
        { path: data, from: home.data },
        { path: dir, from: home.code },
      ],
      files: [...(chosen ? [{ path: HOST, from: host, mode: 'ro' } as const] : []), ...modules, ...files],
      environment,
    },
  };
  return { dir, pluginsDir: dirname(dir), occupant };
}

async function interpreter(programs: Programs, application: HostApplication | null): Promise<Interpreter> {
  const python =
    application?.python === undefined ? await programs.python() : await programs.interpreter(application.python);
  if (python !== null) return python;
  throw new Failure(
    'plugin_boot_failed',
    'There is no Python here that plugins may run: install python3, or set pythonPath (ISOPOD_PYTHON_PATH)',
  );
}

/** Our side of the conversation, where whoever programs run as may read it. */
async function hostIn(folder: string): Promise<string> {
  const file = join(folder, 'host.py');
  if ((await lstat(file).catch(() => null)) !== null) return file;
  const passing = `${file}-${process.hrtime.bigint()}`;
  await copyFile(SOURCE, passing);
  await chmod(passing, 0o644);
  await rename(passing, file);
  return file;
}

/** It is the plugin's to close, and then the plugin's fault. */
function unentered(cause: NodeJS.ErrnoException): never {
  if (cause.code === undefined) throw cause;
  const words = `The data folder of the plugin cannot be entered (${cause.code}); DELETE /v1/plugins/{plugin}/data makes a new one`;
  throw new Failure('plugin_boot_failed', words, { cause });
}

/**
 * A folder below the data of a program, for another one to be put upon. The program may have put anything in its place,
 * while it ran: a link would lead us elsewhere.
 */
async function mountpoint({ data }: Home, parts: readonly string[]): Promise<void> {
  let path = data;
  for (const part of parts) {
    path = join(path, part);
    const found = await lstat(path).catch(() => null);
    if (found?.isDirectory() === true) continue;
    if (found !== null) await rm(path, { force: true });
    await mkdir(path, { mode: 0o755 });
  }
}
