// What `npm run setup` does on machines that lack something: folders with programs that stand for what is there, and for
// package managers that write down what they are asked for.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const root = new URL('../', import.meta.url);
const read = (file: string) => readFileSync(new URL(file, root), 'utf8');

test('.ci/run runs what the README says passes the tests', () => {
  const [said] = /(?<=Pass the tests:\n\n```sh\n)[^\n]+(?=\n```)/.exec(read('README.md')) ?? [];
  expect(said).toContain('npm run setup');
  const lines = read('.ci/run')
    .split('\n')
    .filter((line) => !/^(#.*|set -euo pipefail|export CI=true|cd .*|)$/.test(line));
  expect(lines).toEqual([said]);
});

describe.runIf(process.platform === 'linux')('setup', () => {
  const isRoot = process.getuid?.() === 0;
  const NOBODY = { uid: 65534, gid: 65534 };
  const TOOLS = ['bwrap', 'socat', 'python3'];
  let machine = '';

  beforeEach(() => {
    machine = mkdtempSync(join(tmpdir(), 'isopod-setup-'));
    chmodSync(machine, 0o777);
    symlinkSync('/usr/bin/env', join(machine, 'env'));
    // As any Node finds it, and where anybody may read it.
    copyFileSync(new URL('setup.js', root), join(machine, 'setup.mjs'));
  });
  afterEach(() => rmSync(machine, { recursive: true }));

  function has(name: string, does = ':'): void {
    writeFileSync(join(machine, name), `#!/bin/sh\n${does}\n`);
    chmodSync(join(machine, name), 0o755);
  }

  /** A package manager: it notes what it is asked for, and does `does`. */
  function hasManager(name: string, does = ':'): void {
    has(name, `[ "$1" = --version ] && exit\necho "${name} $*" >> ${machine}/asked\n${does}`);
  }

  const installs = (...names: string[]) =>
    names.map((name) => `printf '#!/bin/sh\\n' > ${machine}/${name}; /bin/chmod 755 ${machine}/${name}`).join('\n');

  const asked = () => (existsSync(join(machine, 'asked')) ? readFileSync(join(machine, 'asked'), 'utf8') : '');

  function setup(as: { uid?: number; gid?: number } = {}, env: Record<string, string> = {}) {
    let node = process.execPath;
    if (as.uid !== undefined && spawnSync(node, ['-v'], as).status !== 0) {
      node = join(machine, 'node');
      copyFileSync(process.execPath, node);
    }
    const done = spawnSync(node, [join(machine, 'setup.mjs')], {
      ...as,
      env: { PATH: machine, ...env },
      cwd: machine,
      encoding: 'utf8',
    });
    expect(done.stderr).toBe('');
    return { code: done.status, said: done.stdout };
  }

  test('does nothing where all is there, and says so in one line', () => {
    for (const tool of TOOLS) has(tool);
    hasManager('apt-get');
    expect(setup({}, { CI: 'true' })).toEqual({
      code: 0,
      said: 'There is nothing to install: bubblewrap, socat and python3 are here.\n',
    });
    expect(asked()).toBe('');
  });

  test('says that bubblewrap is old', () => {
    for (const tool of TOOLS) has(tool);
    has('bwrap', 'echo bubblewrap 0.6.1');
    expect(setup().said).toMatch(/^bubblewrap 0\.6 is older than 0\.8/m);
    for (const version of ['0.8.0', '0.11.0', '1.0.0']) {
      has('bwrap', `echo bubblewrap ${version}`);
      expect(setup().said).not.toContain('older');
    }
  });

  describe.runIf(isRoot)('as root', () => {
    test('installs what is lacking, and that alone', () => {
      has('socat');
      hasManager('apt-get', installs('bwrap', 'python3') + '\nprintf %s "$DEBIAN_FRONTEND" > ' + machine + '/frontend');
      const { code, said } = setup({}, { CI: 'true' });
      expect([code, asked()]).toEqual([0, 'apt-get install -y --no-install-recommends bubblewrap python3\n']);
      expect(readFileSync(join(machine, 'frontend'), 'utf8')).toBe('noninteractive');
      expect(said).toContain('Running env DEBIAN_FRONTEND=noninteractive apt-get install -y');
      expect(said).not.toContain('grade');
    });

    test('asks for the list of packages only where it has to', () => {
      has('bwrap');
      has('socat');
      hasManager('apt-get', `[ "$1" = update ] && : > ${machine}/list; [ -e ${machine}/list ] || exit 100`);
      const install = 'apt-get install -y --no-install-recommends python3\n';
      // This one says that it has installed, and has not.
      const { code, said } = setup();
      expect(asked()).toBe(`${install}apt-get update\n${install}`);
      expect(code).toBe(0);
      expect(said).toMatch(
        /find out why this did not help:\n.*apt-get install.*python3\nWithout python3, isopod starts/,
      );
      expect(setup({}, { CI: 'true' }).code).toBe(1);
    });

    test('does not count a program that none but root may run', () => {
      for (const tool of TOOLS) has(tool);
      chmodSync(join(machine, 'python3'), 0o700);
      hasManager('apt-get', installs('python3'));
      expect(setup().code).toBe(0);
      expect(asked()).toBe('apt-get install -y --no-install-recommends python3\n');
    });

    const managers: [manager: string, asked: string][] = [
      ['dnf', 'dnf install -y bubblewrap socat python3\n'],
      ['apk', 'apk add bubblewrap socat python3\n'],
      ['pacman', 'pacman -S --noconfirm --needed bubblewrap socat python\n'],
      ['zypper', 'zypper --non-interactive install bubblewrap socat python3\n'],
    ];
    test.each(managers)('knows %s', (manager, expected) => {
      hasManager(manager, installs(...TOOLS));
      expect(setup({}, { CI: 'true' }).code).toBe(0);
      expect(asked()).toBe(expected);
    });
  });

  describe('as somebody else', () => {
    const somebody = isRoot ? NOBODY : {};

    test('goes through sudo where that asks for no password', () => {
      has('bwrap');
      has('socat');
      has('sudo', `echo "sudo $*" >> ${machine}/asked; [ "$1" = -n ] && shift && "$@"`);
      has('true');
      hasManager('apt-get', installs('python3'));
      expect(setup(somebody, { CI: 'true' }).code).toBe(0);
      const install = 'apt-get install -y --no-install-recommends python3\n';
      expect(asked()).toBe(`sudo -n true\nsudo -n env DEBIAN_FRONTEND=noninteractive ${install}${install}`);
    });

    test('says what to run where it may not', () => {
      hasManager('apt-get');
      has('sudo', 'exit 1');
      const { code, said } = setup(somebody);
      expect([code, asked()]).toEqual([0, '']);
      expect(said).toContain(
        'As root, run\n  env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends bubblewrap socat python3\n',
      );
      expect(said).toContain('Without bubblewrap, socat and python3, isopod starts');
      expect(setup(somebody, { CI: 'true' }).code).toBe(1);
    });

    test('says so where it knows no package manager', () => {
      has('bwrap');
      const { code, said } = setup(somebody);
      expect(code).toBe(0);
      expect(said).toContain('socat and python3 are lacking');
      expect(said).toContain('Knows no package manager');
    });
  });
});
