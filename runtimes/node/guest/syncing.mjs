import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

/**
 * Node's permission model has no `fsync`, as that takes a descriptor and no path, and so whoever writes files with care
 * (write-file-atomic) would not get to write any. Here it does nothing: files are whole, and on the disk when the kernel
 * sees fit. What else takes a descriptor (`fchmod`, `fchown`, `futimes`) is refused by Node, in words.
 */
export async function allowSyncing() {
  for (const name of ['fsync', 'fdatasync']) {
    fs[name] = (_descriptor, done) => process.nextTick(done, null);
    fs[`${name}Sync`] = () => undefined;
  }
  syncBuiltinESMExports();
  const handle = await fs.promises.open('/dev/null');
  const { prototype } = handle.constructor;
  await handle.close();
  prototype.sync = prototype.datasync = async () => undefined;
}
