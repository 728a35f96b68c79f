// What a plugin asks for, in a file beside its manifest: read as strictly as a manifest, and never the end of a plugin.
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Catalogues } from '../../src/engine/catalogue.ts';
import { asksOf } from '../../src/manifests/asks.ts';
import { stash } from '../../src/manifests/stash.ts';

const asked = (permissions: string) =>
  asksOf({ file: 'p.yml', path: '/p/p.yml', bytes: Buffer.alloc(0), permissions: Buffer.from(permissions) });

test('hosts, files, limits and a reason are read in one form', () => {
  const text = `network: [API.example.com, "*.example.org:8443"]
files:
  - path: /srv/media
  - { path: /srv/out, mode: rw }
limits: { wallMs: 60000, hostCalls: 5 }
reason: "posters\\u001b[31m"
`;
  expect(asked(text)).toEqual({
    network: ['api.example.com', '*.example.org:8443'],
    files: [
      { path: '/srv/media', mode: 'ro' },
      { path: '/srv/out', mode: 'rw' },
    ],
    limits: { wallMs: 60_000, hostCalls: 5 },
    reason: 'posters[31m',
    problem: null,
  });
  expect(asked('{}')).toEqual({ network: [], files: [], limits: {}, reason: null, problem: null });
});

const BOMB = `a: &a [x, x, x, x, x, x, x, x, x]
b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]
network: [*b, *b, *b]
`;

test('what is wrong with it is said, and then nothing is asked for', () => {
  const bad: Record<string, RegExp> = {
    '': /EOF/,
    'network: api.example.com': /network must be a list/,
    'network: ["*"]': /network\[0\] is no host: "\*"/,
    'network: ["https://x.example.com"]': /is no host/,
    'hosts: []': /unknown key "hosts" in the file; allowed are network, files, limits, reason/,
    'files: [{ path: ../x }]': /files\[0\].path is not absolute: "..\/x"/,
    'files: [{ path: /proc }]': /is in \/proc/,
    'files: [{ path: /srv, mode: rwx }]': /must be ro or rw/,
    'limits: { wallMs: lots }': /must be a whole number/,
    'limits: { colour: 1 }': /unknown key "colour"/,
    [`network: [${Array.from({ length: 33 }, (_, i) => `h${i}.example.com`)}]`]: /32 entries at most, not 33/,
    'network: [a.example.com': /^line 1/,
    [BOMB]: /unknown key "a"/,
    '\ud800': /./,
  };
  for (const [text, problem] of Object.entries(bad)) {
    expect([text, asked(text)]).toEqual([
      text,
      { network: [], files: [], limits: {}, reason: null, problem: expect.stringMatching(problem) },
    ]);
  }
});

test('the file is found beside its manifest, and a change of it is a change of the plugin', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'isopod-asks-'));
  const folder = join(dir, 'stash');
  await mkdir(folder);
  const write = (name: string, text: string) => writeFile(join(folder, name), text);
  await using scope = new AsyncDisposableStack();
  scope.defer(() => rm(dir, { recursive: true }));
  const catalogues = scope.use(new Catalogues({ pluginsDir: dir, dialects: [stash] }));
  const look = async () => (await catalogues.reload()).plugins;

  for (const id of ['a.b', 'bad', 'led', 'large', 'plain']) await write(`${id}.yml`, `name: ${id}\n`);
  await write('a.b.permissions.yaml', 'network: [api.example.com]\n');
  await write('bad.permissions.yaml', 'network: 5\n');
  await symlink('a.b.permissions.yaml', join(folder, 'led.permissions.yaml'));
  await write('large.permissions.yaml', `reason: ${'x'.repeat(70_000)}\n`);
  const before = await look();
  // None is taken for a manifest, and none makes a plugin vanish.
  expect([...before.keys()].sort()).toEqual(['a.b', 'bad', 'large', 'led', 'plain']);
  expect(before.get('a.b')?.asks).toMatchObject({ network: ['api.example.com'], problem: null });
  expect(before.get('bad')?.asks?.problem).toMatch(/^line 1, column 10: network must be a list/);
  expect(before.get('led')?.asks?.problem).toMatch(/ELOOP/);
  expect(before.get('large')?.asks?.problem).toMatch(/at most/);
  expect(before.get('plain')).not.toHaveProperty('asks');

  await write('a.b.permissions.yaml', 'network: [api.example.com, more.example.com]\n');
  await write('plain.permissions.yaml', 'reason: none\n');
  const after = await look();
  expect(after.get('a.b')?.asks?.network).toEqual(['api.example.com', 'more.example.com']);
  expect(after.get('plain')?.asks?.reason).toBe('none');
  expect(after.get('bad')).toBe(before.get('bad'));
});
