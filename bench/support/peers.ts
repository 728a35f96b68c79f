import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** What we measure against has a lockfile of its own, so that the product's install does not carry it. */
export async function installPeers(): Promise<void> {
  const folder = new URL('..', import.meta.url).pathname;
  if (existsSync(`${folder}node_modules/workerd`)) return;
  process.stderr.write('bench/node_modules is missing: running npm ci in bench/\n');
  const { status, stderr } = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: folder, encoding: 'utf8' });
  if (status !== 0) throw new Error(`npm ci in bench/ failed\n${stderr}`);
}
