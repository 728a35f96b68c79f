import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The few files of /etc that programs look into to find out who they are, in a folder below `folder`. */
export async function writeEtc(folder: string, identity: number): Promise<string> {
  const dir = join(folder, `etc-${identity}`);
  await mkdir(dir, { recursive: true, mode: 0o755 });
  const files = {
    passwd: `root:x:0:0:root:/root:/usr/sbin/nologin\n${people(identity, (id) => `plugin:x:${id}:${id}:plugin:/tmp:/bin/sh`)}`,
    group: `root:x:0:\n${people(identity, (id) => `plugin:x:${id}:`)}`,
    hosts: '127.0.0.1 localhost\n::1 localhost\n',
    'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text, { mode: 0o644 });
  return dir;
}

/** In a user namespace it is 1000. */
function people(identity: number, line: (id: number) => string): string {
  return `${line(process.getuid?.() === 0 ? identity : 1000)}\n`;
}
