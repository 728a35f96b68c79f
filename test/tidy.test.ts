import { existsSync, readFileSync } from 'node:fs';
import { glob } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

async function files(...patterns: string[]): Promise<string[]> {
  const found = await Array.fromAsync(glob(patterns, { cwd: root }));
  return found.filter((file) => !file.includes('node_modules')).sort();
}

function read(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}

/** What a file imports of ours, as paths from the root; types too, since knowing is what this is about. */
function imports(file: string): string[] {
  const all = [
    ...read(file).matchAll(/^\s*(?:import|export)\b[^;'"]*?from\s+['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm),
  ];
  return all
    .map(([, from, dynamic]) => from ?? dynamic ?? '')
    .filter((from) => from.startsWith('.'))
    .map((from) => relative(root, join(root, dirname(file), from)));
}

/** Which floors each floor may import. Read it top to bottom: nothing looks up. */
const floors: Record<string, string[]> = {
  'src/main.ts': ['src/', 'runtimes/'],
  'src/cli': ['src/'],
  'src/service.ts': ['src/', 'package.json'],
  'src/assembly.ts': ['src/config.ts', 'src/engine/', 'src/gateway/', 'src/core/'],
  'src/compile-cache.ts': [],
  'src/log.ts': ['src/engine/', 'src/core/'],
  'src/metrics.ts': ['src/engine/', 'src/core/'],
  'src/config': ['src/config', 'src/core/'],
  'src/listening/': ['src/listening/', 'src/core/'],
  'src/http/': ['src/http/', 'src/listening/', 'src/engine/', 'src/core/'],
  'src/engine/': ['src/engine/', 'src/manifests/', 'src/packages/', 'src/store/', 'src/core/'],
  'src/gateway/': ['src/gateway/', 'src/listening/', 'src/core/'],
  'src/store/': ['src/store/', 'src/core/'],
  'src/packages/': ['src/packages/', 'src/core/'],
  'src/manifests/': ['src/manifests/', 'src/core/'],
  'runtimes/isolate/': ['runtimes/isolate/', 'src/confinement/', 'src/core/'],
  'runtimes/process/': ['runtimes/process/', 'src/programs/', 'src/confinement/', 'src/core/'],
  'runtimes/python/': ['runtimes/python/', 'src/programs/', 'src/confinement/', 'src/core/'],
  'runtimes/node/': ['runtimes/node/', 'src/programs/', 'src/confinement/', 'src/core/'],
  'src/programs/': ['src/programs/', 'src/confinement/', 'src/core/'],
  'src/confinement/': ['src/confinement/', 'src/core/'],
  'src/core/': ['src/core/'],
};

test('a floor imports only what is below it', async () => {
  for (const file of await files('src/**/*.ts', 'runtimes/**/*.{ts,js}')) {
    const floor = Object.keys(floors).find((one) => file.startsWith(one));
    expect([file, floor], 'which floor is it on?').not.toEqual([file, undefined]);
    for (const imported of imports(file)) {
      const fine = floors[floor ?? '']?.some((one) => imported.startsWith(one));
      expect(`${file} imports ${imported}: ${fine}`).toBe(`${file} imports ${imported}: true`);
    }
  }
});

test('every import of ours leads to a file and has its ending', async () => {
  for (const file of await files('src/**/*.ts', 'runtimes/**/*.{ts,js}', 'test/**/*.ts', 'bench/**/*.ts')) {
    if (file.includes('/fixtures/')) continue;
    for (const imported of imports(file))
      expect([file, imported, existsSync(join(root, imported))]).toEqual([file, imported, true]);
  }
});

test('only main.ts names a runtime', async () => {
  const others = (await files('src/**/*.ts')).filter((file) => file !== 'src/main.ts');
  for (const file of others)
    expect([file, /(Isolate|Process|Python|Node)Runtime|runtimes\//.test(code(file))]).toEqual([file, false]);
});

test('core does no input or output and knows no clock', async () => {
  for (const file of await files('src/core/**/*.ts')) {
    expect([
      file,
      /from 'node:|\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(|\bprocess\./.exec(code(file)),
    ]).toEqual([file, null]);
  }
});

test('guests import nothing outside their runtime', async () => {
  const guests = await files('runtimes/*/guest/**/*.{ts,js,mjs}');
  for (const file of guests) {
    const own = file.split('/').slice(0, 2).join('/');
    for (const imported of imports(file)) expect([file, imported.startsWith(`${own}/`)]).toEqual([file, true]);
  }
  // Alone in a folder that it may not import from; test/runtimes/python/host.test.ts knows the standard library.
  const pythons = await files('runtimes/**/*.py');
  expect(pythons).toEqual(['runtimes/python/guest/host.py']);
});

test('the front end never loads isolated-vm', async () => {
  const loading = (await files('src/**/*.ts', 'runtimes/**/*.{ts,js}')).filter((file) =>
    /(from|import\(|require\()\s*['"]isolated-vm['"]/.test(code(file)),
  );
  for (const file of loading) expect(file).toMatch(/^runtimes\/isolate\/guest\//);
});

test('no module keeps state: nothing at the top of one can be assigned again or filled', async () => {
  // The guest of an executor is a process of its own, which has only itself to share with.
  const hosts = (await files('src/**/*.ts', 'runtimes/**/*.ts')).filter((file) => !file.includes('/guest/'));
  for (const file of hosts) {
    const assigned = /^(?:export )?(?:let|var) .*$/m.exec(code(file))?.[0];
    const filled =
      /^(?:export )?const \w+(?:: (?!Readonly)[^=]*)? = new (?:Map|Set|WeakMap|WeakSet)(?:<[^(]*>)?\(\);?$/m.exec(
        code(file),
      )?.[0];
    expect([file, assigned, filled]).toEqual([file, undefined, undefined]);
  }
});

test('no default exports, no barrel files, no TypeScript that does not strip', async () => {
  const all = await files('src/**/*.ts', 'runtimes/**/*.ts');
  // A file that is started by its URL is a thread, and Piscina wants a default export of it.
  const threads = all.flatMap((file) => {
    const started = [...read(file).matchAll(/new URL\('(\.[^']+)', import\.meta\.url\)/g)];
    return started.map(([, path]) => relative(root, join(root, dirname(file), path ?? '')));
  });
  for (const file of all) {
    const text = code(file);
    if (!threads.includes(file)) expect([file, /^export default /m.test(text)]).toEqual([file, false]);
    expect([file, /^export \* from/m.test(text)]).toEqual([file, false]);
    expect([file, /^\s*(?:export )?(?:const )?enum |^\s*(?:export )?namespace /m.test(text)]).toEqual([file, false]);
  }
});

test('no file is a bag, and none is too long to be read in one go', async () => {
  // Files that stand in for those of another application are called as it calls them.
  const theirs = 'runtimes/node/guest/root/';
  for (const file of await files('src/**/*.ts', 'runtimes/**/*.{ts,js,mjs}')) {
    if (!file.startsWith(theirs))
      expect(file).not.toMatch(
        /\b(util|utils|helper|helpers|manager|common|misc|lib|interfaces|types|index)\.(ts|js)$/,
      );
    expect([file, read(file).split('\n').length < 600]).toEqual([file, true]);
  }
});

test('test files are named so that the runner finds them', async () => {
  const tests = (await files('test/**/*.ts')).filter(
    (file) => /from 'vitest'/.test(read(file)) && !file.startsWith('test/support/'),
  );
  for (const file of tests) expect(file).toMatch(/\.test\.ts$/);
});

/** A file without its comments. */
function code(file: string): string {
  return read(file)
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/(^|\s)\/\/.*$/gm, '$1');
}
