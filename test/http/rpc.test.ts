// Programs of `interface: rpc` as callers see them, with everything in between.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { TestApplication } from '../support/application.ts';
import { eventsOf } from '../support/events.ts';
import { FIXTURES } from '../support/process.ts';
import { startTestService } from '../support/service.ts';

async function plugin(program: string): Promise<Record<string, string>> {
  const read = (file: string) => readFile(join(FIXTURES, file), 'utf8');
  return {
    [`${program}.yml`]: `name: Rpc\ninterface: rpc\nexec: [python3, "{pluginDir}/${program}.py"]\n`,
    [`${program}.py`]: await read(`${program}.py`),
    'rpc_server.py': await read('rpc_server.py'),
  };
}

test('a program is called, calls its application back, and is asked to stop where its job is cancelled', async () => {
  await using application = await TestApplication.start({ credential: null });
  await using service = await startTestService({
    plugins: {
      good: await plugin('rpc-good'),
      calling: await plugin('rpc-calling'),
      waiting: await plugin('rpc-waiting'),
      garbage: { 'garbage.yml': 'interface: rpc\nexec: [echo, hello]\n' },
    },
    config: { applicationUrl: application.url },
  });

  const good = await service.invoke('rpc-good', { args: { n: 1 } }, '?include=logs');
  expect(good.body).toMatchObject({ output: { n: 1 }, progress: 0.5, logs: [{ message: '[Plugin / Rpc] running' }] });
  const { explain } = (await service.get('/v1/plugins/rpc-good')).body;
  expect(explain).toMatchObject({ runtime: 'process', way: expect.not.stringMatching('none') });

  const calling = await service.invoke('rpc-calling');
  expect(calling.body).toMatchObject({ output: { version: { version: 'v0.30.0' } }, usage: { hostCalls: 1 } });

  const garbage = await service.invoke('garbage');
  expect(garbage.status).toBe(502);
  expect(garbage.body).toMatchObject({ code: 'plugin_invalid_output', output: 'hello\n' });

  const job = (await service.ask('POST', '/v1/jobs', { body: { plugin: 'rpc-waiting' } })).body;
  const path = `/v1/jobs/${job.id}`;
  const events = `${service.url}${path}/events`;
  await eventsOf(events, { enough: (seen) => seen.some(({ event }) => event === 'log') });
  await service.ask('POST', `${path}/cancel`);
  expect(JSON.stringify(await eventsOf(events))).toContain('told to stop with None');
  expect((await service.get(path)).body).toMatchObject({ state: 'cancelled', cancel: { stopped: 'cooperative' } });
});
