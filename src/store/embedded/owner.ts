import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { realpath } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';

/** A second service wants a data folder that one has already. The message is for the operator. */
export class FolderTaken extends Error {
  override readonly name = 'FolderTaken';
}

/**
 * Makes us the owner of a data folder until we let go or die, however that happens: what we hold is a listening socket,
 * which the kernel takes back. On Linux it has a name and no file, so that nothing is left to be mistaken for it.
 */
export async function own(dir: string): Promise<AsyncDisposable> {
  const folder = await realpath(dir);
  const name = `isopod-${createHash('sha256').update(folder).digest('hex').slice(0, 32)}`;
  const server = createServer((socket) => socket.destroy());
  server.listen(process.platform === 'win32' ? `\\\\.\\pipe\\${name}` : addressOf(name, folder));
  try {
    await once(server, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    throw new FolderTaken(
      `Another isopod uses the data folder ${folder}: give this one a folder of its own (ISOPOD_DATA_DIR), or let ` +
        'both use one PostgreSQL server (DATABASE_URL)',
    );
  }
  server.unref();
  return {
    [Symbol.asyncDispose]: async () => {
      server.close();
      await once(server, 'close');
    },
  };
}

function addressOf(name: string, folder: string): string {
  return process.platform === 'linux' ? `\0${name}` : join(folder, 'owner.sock');
}
