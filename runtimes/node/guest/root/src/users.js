import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import layout from './user-directories.json' with { type: 'json' };

/** Where the files of a user are, whether there is one or not. */
export function getUserDirectories(handle) {
  if (!/^[a-z0-9-]+$/.test(handle)) throw new TypeError(`${JSON.stringify(handle)} is no handle of a user`);
  const places = Object.entries(layout).map(([name, place]) => [name, join(globalThis.DATA_ROOT, handle, place)]);
  return Object.fromEntries(places);
}

/** Those who have files with this plugin. */
export async function getAllUserHandles() {
  const all = await readdir(globalThis.DATA_ROOT, { withFileTypes: true });
  return all.filter((one) => one.isDirectory() && !one.name.startsWith('_')).map(({ name }) => name);
}

export function requireAdminMiddleware(req, res, next) {
  if (req.user?.profile.admin === true) return next();
  return res.sendStatus(403);
}
