import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Failure } from '../../../src/core/failure.ts';
import type { Outcome } from '../../../src/core/outcome.ts';
import { portrayed } from '../../../src/core/portrayal.ts';
import { dispatcharr } from '../../../src/manifests/dispatcharr.ts';
import { type Act, ok, report, startFakeService } from '../../support/fake.ts';
import { startTestService } from '../../support/service.ts';
import { conversation, FOLDERS, say } from './conversation.ts';

// What is said, not what runs: a runtime of ours stands for Python, and does as the plugins of the conversation would.
test('a front end of Dispatcharr is answered as its own host would answer it', async () => {
  await using service = await startFakeService({
    onDisk: { dialect: dispatcharr, folders: FOLDERS },
    act: actions,
    config: { packages: { archiveBytes: 100_000 } },
  });
  const { residents } = service.runtime;
  residents.unfit.set('broken', new Failure('plugin_boot_failed', 'ImportError: no such module'));
  residents.portraits.set('hello_world', portrayed({ name: 'Hello' }));
  residents.portraits.set(
    'legacy',
    portrayed({
      name: 'Old',
      version: '0.1',
      description: 'Has no manifest',
      fields: [{ id: 'depth', type: 'number', label: 'Depth', default: 3 }],
      actions: [{ id: 'dig', label: 'Dig' }],
    }),
  );
  await held(service.url);
  const { asked } = residents;
  // What was asked for before it was removed may be looked at once more after that.
  expect(asked.filter((one) => one.includes('hello_world')).slice(0, 5)).toEqual([
    'start hello_world',
    'pardon hello_world',
    'stop hello_world reload',
    'start hello_world',
    'stop hello_world delete',
  ]);
});

test('and so it is where Python runs it', async () => {
  const pluginsDir = await mkdtemp(join(tmpdir(), 'isopod-conversation-'));
  // Plugins run as somebody else where we are root, who has to get to them.
  await chmod(pluginsDir, 0o755);
  for (const [name, files] of Object.entries(FOLDERS)) {
    const folder = join(pluginsDir, 'dispatcharr', name);
    await mkdir(folder, { recursive: true });
    for (const [file, content] of Object.entries(files)) await writeFile(join(folder, file), content);
  }
  await using service = await startTestService({ config: { pluginsDir } });
  await held(service.url);
  await rm(pluginsDir, { recursive: true });
}, 60_000);

async function held(base: string): Promise<void> {
  for (const one of conversation(base)) {
    const heard = await say(base, one);
    const said = `${one.method} ${one.path} ${typeof one.sent.body === 'string' ? one.sent.body : ''}`;
    expect([said, heard.status, heard.answer]).toEqual([said, one.status, one.answer]);
    for (const [name, value] of Object.entries(one.shows ?? {})) {
      expect([said, name, heard.headers.get(name)]).toEqual([said, name, value]);
    }
  }
}

const raised = (name: string, message: string, output?: unknown): Outcome => {
  const told = output === undefined ? {} : { output: JSON.stringify(output) };
  const pluginError = { name, message };
  return { ok: false, failure: new Failure('plugin_error', 'raised', { pluginError, ...told }), ...report() };
};

const actions: Act = async ({ plugin, entry, args, residency }) => {
  const action = 'name' in entry ? entry.name : '';
  const settings = residency?.desk.settings() ?? {};
  if (plugin.id === 'broken') {
    return { ok: false, failure: new Failure('plugin_boot_failed', 'ImportError'), ...report() };
  }
  switch (action) {
    case 'dig':
      return ok({ depth: 3 });
    case 'greet':
      return ok({ status: 'ok', message: `${settings.greeting ?? 'Hello'}, ${args.name ?? 'you'}` });
    case 'echo':
      return ok({ params: args });
    case 'list':
      return ok({ status: 'ok', result: [1, 2] });
    case 'nothing':
    case 'watch':
      return ok({ status: 'ok', result: null });
    case 'refuse':
      return raised('StatusError', 'no channels', { status: 'error', message: 'no channels' });
    case 'forbid':
      return raised('PermissionError', 'not you');
    default:
      return raised('ValueError', `no action ${action}`);
  }
};
