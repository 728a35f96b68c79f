import { join } from 'node:path';
import layout from './guest/root/src/user-directories.json' with { type: 'json' };

/** Where the files of a user are, by the names that plugins know: `req.user.directories`. The handle is checked before. */
export function userDirectories(dataRoot: string, handle: string): Record<string, string> {
  return Object.fromEntries(Object.entries(layout).map(([name, place]) => [name, join(dataRoot, handle, place)]));
}
