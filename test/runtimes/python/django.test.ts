// Goal: where the application itself is on the machine, a plugin has its real models, and is confined all the same.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { everyOnPath } from '../../../src/confinement/on-path.ts';
import { failureOf, outputOf, ResidentTrial } from '../../support/residents.ts';

const PROJECT = new URL('../../fixtures/django', import.meta.url).pathname;
const run = promisify(execFile);
const python = await withDjango();

/** `npm run setup -- --tests` installs it. */
async function withDjango(): Promise<string | null> {
  for (const file of [...(await everyOnPath(['python3'], process.env.PATH)), '/usr/bin/python3']) {
    const found = await run(file, ['-I', '-c', 'import sys, django; print(sys.executable)']).catch(() => null);
    if (found !== null) return found.stdout.trim();
  }
  return null;
}

test('in CI there is a Django to try it with', () => {
  expect(process.env.CI !== 'true' || python !== null).toBe(true);
});

test.runIf(python !== null)(
  'a plugin has the models of its real application, and nothing else of the machine',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'isopod-library-'));
    await chmod(folder, 0o777);
    const library = join(folder, 'library.db');
    const env = { PYTHONPATH: PROJECT, DJANGO_SETTINGS_MODULE: 'library.settings', LIBRARY: library };
    await run(python ?? '', ['-m', 'django', 'migrate'], { env });
    await chmod(library, 0o666);
    const application = { python: python ?? '', pythonPath: [PROJECT], settingsModule: 'library.settings' };
    await using trial = await ResidentTrial.start({
      applicationOf: () => application,
      environment: { LIBRARY: library },
    });
    trial.grant = { network: [], files: [{ path: folder, mode: 'rw' }], limits: {} };
    try {
      for (const title of ['one', 'two']) outputOf(await trial.run('librarian', 'add', { title }));
      const { titles, read } = outputOf(await trial.run('librarian', 'list')) as { titles: string[]; read: string };
      assert.deepEqual(titles, ['one', 'two']);
      assert.match(read, /^\d{4}-\d\d-\d\dT.*Z$/);
      // By somebody else, who is not confined.
      const seen = await run(
        python ?? '',
        ['-c', 'import django; django.setup(); from shelf.models import Book; print(Book.objects.count())'],
        { env },
      );
      assert.equal(seen.stdout.trim(), '2');
      assert.equal(failureOf(await trial.run('librarian', 'elsewhere')).details.pluginError?.name, 'FileNotFoundError');
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
);
