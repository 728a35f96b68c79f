/** The whole service with its real runtimes, on a free port, over plugins written for the test. */
import { chmod, cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { completed } from '../../src/config.ts';
import { startService } from '../../src/main.ts';
import { TestService } from './client.ts';
import { testDatabase } from './databases.ts';
import { merged, type Overrides } from './overrides.ts';

export type TestServiceOptions = {
  /**
   * Stash plugins by folder, or others by format and folder (`dispatcharr/tally`): either their files, name and content, or the path of a folder to copy.
   * A file ending in `.sh` or `.py` or whose content starts with `#!` may be executed.
   */
  plugins?: Record<string, Record<string, string> | string>;
  /** Settings, as in isopod.yaml. */
  config?: Overrides;
};

/** A service of its own for a test. `await using` it: leaving the scope ends it and removes its folder. */
export async function startTestService(options: TestServiceOptions = {}): Promise<TestService & { folder: string }> {
  const { plugins = {}, config: overrides = {} } = options;
  const folder = await mkdtemp(join(tmpdir(), 'isopod-test-'));
  // Plugins run as somebody else where we are root, who has to get to them.
  await chmod(folder, 0o755);
  const scope = new AsyncDisposableStack();
  scope.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));
  const cleanUp = () => scope.disposeAsync();
  try {
    for (const [name, files] of Object.entries(plugins))
      await writePlugin(join(folder, 'plugins', name.includes('/') ? '' : 'stash', name), files);
    const database = await testDatabase();
    scope.use(database);
    const preset = { port: 0, drainMs: 2_000, databaseUrl: database.url, isolation: { check: 'demand' } };
    const config = completed(merged(preset, overrides), folder);
    const lines: string[] = [];
    const service = await startService(config, { write: (line: string) => void lines.push(line) });
    return Object.assign(new TestService(service, config, lines, cleanUp), { folder });
  } catch (error) {
    await cleanUp();
    throw error;
  }
}

/** Writes the files of a plugin, or copies the folder they are in. */
export async function writePlugin(dir: string, files: Record<string, string> | string): Promise<void> {
  if (typeof files === 'string') {
    await cp(files, dir, { recursive: true });
    return;
  }
  for (const [name, content] of Object.entries(files)) {
    const file = join(dir, name);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content, { mode: content.startsWith('#!') || /\.(sh|py)$/.test(name) ? 0o755 : 0o644 });
  }
}
