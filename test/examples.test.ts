// The README is run as it stands: each curl line is pasted into a shell, and its answer must hold what the README shows.
// A text that ends in … stands for all that begin so.
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readRepo } from '../src/engine/hub/repo-manifest.ts';
import { startTestService } from './support/service.ts';

const run = promisify(execFile);
const root = new URL('../', import.meta.url);
const readme = await readFile(new URL('README.md', root), 'utf8');
const pairs = [...readme.matchAll(/```sh\n(curl [^\n]*)\n```\n\n```json\n([^`]*)\n```/g)].map(([, line, shown]) => ({
  line: line as string,
  shown: JSON.parse(shown as string, (_, value) => {
    const begins = typeof value === 'string' && value.endsWith('…');
    return begins ? expect.stringMatching(new RegExp(`^${RegExp.escape(value.slice(0, -1))}.`)) : value;
  }) as object,
}));
const forAuthors = (await readFile(new URL('docs/DISPATCHARR.md', root), 'utf8')).split('## For authors')[1] ?? '';

const block = (language: string, at: number, text = readme): string =>
  [...text.matchAll(new RegExp(`\`\`\`${language}\\n([^\`]*)\`\`\``, 'g'))][at]?.[1] ?? `no block of ${language}`;

describe('the README', () => {
  let service: Awaited<ReturnType<typeof startTestService>>;

  let cwd: string;
  beforeAll(async () => {
    cwd = await mkdtemp(join(tmpdir(), 'isopod-readme-'));
    service = await startTestService({
      plugins: {
        ...Object.fromEntries(
          ['wordcount', 'librarian', 'checksum', 'greeter', 'countdown', 'starlight'].map((name) => [
            name,
            new URL(`plugins/stash/${name}`, root).pathname,
          ]),
        ),
        ...Object.fromEntries(
          ['tally', 'heartbeat'].map((name) => [
            `dispatcharr/${name}`,
            new URL(`plugins/dispatcharr/${name}`, root).pathname,
          ]),
        ),
        'sillytavern/bookmarks': new URL('plugins/sillytavern/bookmarks', root).pathname,
        'sillytavern/dice.js': new URL('plugins/sillytavern/dice.js', root).pathname,
        'dispatcharr/mine': { 'plugin.py': block('python', 0, forAuthors) },
        hello: { 'hello.yml': block('yaml', 0), 'hello.js': block('js', 0) },
        count: { 'count.yml': block('yaml', 1), 'count.py': block('python', 0) },
      },
    });
  });
  afterAll(async () => {
    await service[Symbol.asyncDispose]();
    await rm(cwd, { recursive: true });
  });

  test('shows each kind of plugin', () => expect(pairs.length).toBeGreaterThanOrEqual(6));

  test('has plugins to begin with, which run as they stand', async () => {
    const hello = await service.invoke('hello', { task: 'Greet' }, '?include=logs');
    expect(hello.body).toMatchObject({ output: 'Hello world', progress: 1, logs: [{ level: 'info' }] });
    const count = await service.invoke('count', { args: { text: 'four' } }, '?include=logs');
    expect(count.body).toMatchObject({ output: 4, logs: [{ level: 'info', message: '[Plugin / Count] counting' }] });
  });

  test.each(pairs)('gets what it shows from $line', async ({ line, shown }) => {
    const { stdout } = await run('sh', ['-c', line.replaceAll('http://127.0.0.1:4763', service.url)], { cwd });
    expect(JSON.parse(stdout)).toMatchObject(shown);
  });

  test('has a guide for authors of Dispatcharr plugins whose plugin and repository are what it says', async () => {
    await service.ask('POST', '/api/plugins/plugins/mine/enabled/', { body: { enabled: true } });
    expect((await service.invoke('mine', { task: 'greet' })).body.output.message).toBe('Hello world');
    const event = { type: 'channel_start', input: { channel_name: 'News' } };
    const { hooks } = (await service.ask('POST', '/v1/events', { body: event })).body;
    expect(hooks).toContainEqual(
      expect.objectContaining({ plugin: 'mine', output: { status: 'ok', message: 'Hello News' } }),
    );

    const { plugins } = readRepo(block('json', 0, forAuthors), null);
    expect(plugins[0]).toMatchObject({
      slug: 'my_plugin',
      latest_url: 'https://plugins.example.com/my_plugin-1.2.0.zip',
    });
  });

  test('has server plugins that do all that they say', async () => {
    const [kept] = (await service.get('/api/plugins/bookmarks/')).body;
    const exported = await service.get('/api/plugins/bookmarks/export');
    expect(exported.text).toBe(`${JSON.stringify(kept)}\n`);
    expect(exported.headers.get('content-disposition')).toBe('attachment; filename="bookmarks.jsonl"');
    expect(await service.get('/api/plugins/bookmarks/probe')).toMatchObject({ status: 204 });
    expect((await service.get('/api/plugins/bookmarks/', { 'isopod-user': 'somebody-else' })).body).toEqual([]);

    const shown = await service.get('/csrf-token');
    const cookie = shown.headers.getSetCookie().map((one) => one.split(';', 1)[0]);
    const headers = { 'x-csrf-token': shown.body.token, cookie: cookie.join('; ') };
    const remove = () => service.ask('DELETE', `/api/plugins/bookmarks/${kept.id}`, { headers });
    expect([(await remove()).status, (await remove()).status]).toEqual([204, 404]);
    const wrong = await service.ask('POST', '/api/plugins/bookmarks/', { headers, body: { chat: 5 } });
    expect(wrong).toMatchObject({ status: 400, body: { error: expect.stringContaining('a chat') } });

    await service.ask('POST', '/v1/plugins/dice/enable');
    const { body } = await service.get('/api/plugins/dice/3d6');
    expect(body.rolls).toHaveLength(3);
    expect(body).toMatchObject({ dice: '3d6', total: body.rolls[0] + body.rolls[1] + body.rolls[2] });
  });
});

test('a plugin folder can be tried without a server, as the README shows', async () => {
  const line = /```sh\nnpx isopod (run [^\n]*)\n```/.exec(readme)?.[1] ?? 'not found';
  const { stdout } = await run('sh', ['-c', `"$0" src/cli.ts ${line}`, process.execPath], { cwd: root.pathname });
  expect(stdout).toContain('"commonest"');
  expect(stdout).toContain('"different": 4');
});
