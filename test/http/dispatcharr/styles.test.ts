// Plugins in the styles that real ones have, unchanged, through the whole service.
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestService } from '../../support/service.ts';

const FIXTURES = new URL('../../fixtures/dispatcharr/', import.meta.url).pathname;
const STYLES = ['listener', 'scheduler', 'manifest_only', 'Legacy Dir', 'keeper'];

let service: Awaited<ReturnType<typeof startTestService>>;

beforeAll(async () => {
  const plugins = Object.fromEntries(STYLES.map((name) => [`dispatcharr/${name}`, join(FIXTURES, name)]));
  service = await startTestService({ plugins });
  for (const key of ['listener', 'scheduler', 'manifest_only', 'legacy_dir', 'keeper']) {
    const { body } = await service.ask('POST', `/api/plugins/plugins/${key}/enabled/`, { body: { enabled: true } });
    expect([key, body.success, body.plugin.loaded]).toEqual([key, true, true]);
  }
});
afterAll(() => service[Symbol.asyncDispose]());

async function run(key: string, action: string, params: unknown = {}) {
  const { status, body } = await service.ask('POST', `/api/plugins/plugins/${key}/run/`, { body: { action, params } });
  expect([status, body.error]).toEqual([200, undefined]);
  return body.result;
}

test('one listens by itself, and reaches itself', async () => {
  expect(await run('listener', 'ask')).toEqual({ said: 'here' });
});

test('one has its actions in its manifest alone, with relative imports, and runs at events', async () => {
  expect(await run('manifest_only', 'say')).toEqual({ status: 'ok', result: 'Say: HELLO!' });
  const { body } = await service.ask('POST', '/v1/events', {
    body: { type: 'vod_start', input: { content_name: 'x' } },
  });
  expect(body.hooks).toMatchObject([{ plugin: 'manifest_only', hook: 'say', status: 'ran' }]);
});

test('one has no manifest, a folder with a space in its name, and is a package', async () => {
  expect(await run('legacy_dir', 'who')).toEqual({ status: 'ok', result: '_dispatcharr_plugin_legacy_dir' });
  const { body } = await service.get('/api/plugins/plugins/');
  const legacy = body.plugins.find(({ key }: { key: string }) => key === 'legacy_dir');
  expect(legacy).toMatchObject({
    name: 'Legacy',
    version: '0.1',
    legacy: true,
    actions: [{ id: 'who', label: 'Who' }],
  });
});

test('one works later: by its own timer, and by tasks that become jobs', async () => {
  const response = await fetch(`${service.url}/v1/updates?plugin=scheduler`);
  const events = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  await run('scheduler', 'later');
  const { job } = await run('scheduler', 'queue');
  const ended = await service.get(`/v1/jobs/${job}`, { prefer: 'wait=10' });
  expect(ended.body).toMatchObject({ plugin: 'scheduler', task: expect.stringMatching(/^shared_task:.*tidy$/) });
  let heard = '';
  while (!heard.includes('tidied') || !heard.includes('rang')) heard += (await events?.read())?.value ?? '';
  await events?.cancel();
  await expect
    .poll(async () => (await service.get(`/v1/jobs/${job}`)).body.output)
    .toEqual({ tidied: ['attic', 'attic'] });
});

test('one keeps files and has children; what changes on disk renews it and nobody else', async () => {
  expect(await run('keeper', 'x')).toEqual({ kept: [1, 1], child: '42', runs: 1 });
  expect(await run('keeper', 'x')).toEqual({ kept: [2, 2], child: '42', runs: 2 });
  const before = (await service.get('/v1/plugins/listener')).body.resident.startedAt;
  await appendFile(join(service.folder, 'plugins/dispatcharr/keeper/plugin.py'), '\n# another version\n');
  const { body } = await service.ask('POST', '/v1/plugins/reload');
  expect(body).toMatchObject({ changed: ['keeper'], added: [], removed: [] });
  // Its folder is new, its data are not, and nothing is left in memory.
  expect(await run('keeper', 'x')).toEqual({ kept: [1, 3], child: '42', runs: 1 });
  expect((await service.get('/v1/plugins/listener')).body.resident.startedAt).toBe(before);
});
