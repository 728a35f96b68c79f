import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { wishFor } from '../../src/core/job.ts';
import { Store } from '../../src/store/store.ts';
import { testDatabase } from '../support/databases.ts';
import { js, Nodes } from '../support/nodes.ts';

// Nodes take their time to start where cores are shared.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const WISH = wishFor({ plugin: 'add', task: null, args: { a: 1, b: 2 } });

test('jobs that waited or ran when a backup was taken are run where it is restored', async () => {
  await using nodes = await Nodes.open({ plugins: js('add', '({ Output: input.Args.a + input.Args.b });') });
  const file = join(nodes.folder, 'backup.gz');
  await using former = await testDatabase();
  const ids: string[] = [];
  {
    await using store = await Store.open({ url: former.url, dataDir: nodes.folder });
    const { jobs } = store.of('default');
    for (let count = 0; count < 4; count += 1) ids.push((await jobs.add(WISH)).job.id);
    const { claimed } = await store.desk.claim(2);
    expect(claimed).toHaveLength(2);
    await store.backup(file);
  }
  {
    await using empty = await Store.open({ url: nodes.databaseUrl, dataDir: nodes.folder });
    await empty.restore(file);
  }
  // Both find jobs that the queue knows nothing of.
  const [node] = await Promise.all([nodes.start(), nodes.start()]);
  const jobs = await Promise.all(ids.map((id) => node.job(id)));
  expect(jobs.map(({ state, output, attempt }) => `${state} ${output} ${attempt}`).sort()).toEqual([
    'succeeded 3 1',
    'succeeded 3 1',
    'succeeded 3 2',
    'succeeded 3 2',
  ]);
});
