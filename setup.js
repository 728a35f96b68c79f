/**
 * `npm run setup`: installs the programs of the operating system with which isopod confines plugins, through its package
 * manager, where it may; else says what to run. Does nothing when all are there. isopod works without, at a lesser grade:
 * see docs/SECURITY.md. `npm run setup -- --tests` also installs what only the tests need.
 *
 * Plain JavaScript, without dependencies and for any Node of these days, as it may run before `npm ci` has.
 */
import { spawnSync } from 'node:child_process';

/** A package is for the system's own Python, which may not be the first on PATH. */
const DJANGO = {
  name: 'python3-django',
  why: 'is what the tests have real models from',
  probe: ['/usr/bin/python3', '-c', 'import django'],
};

/** Each with what tells whether it is there, for whom plugins run as. */
const TOOLS = [
  { name: 'bubblewrap', why: 'confines plugins', probe: ['bwrap', '--version'] },
  { name: 'socat', why: 'is their way to the application', probe: ['socat', '-V'] },
  { name: 'python3', why: 'runs those in Python', probe: ['python3', '-c', ''] },
  ...(process.argv.includes('--tests') ? [DJANGO] : []),
];

/** From 0.8 on, bubblewrap can bound what is written, and forbid namespaces inside of its own. */
const OLDEST_BUBBLEWRAP = [0, 8];

/** `refresh` is for when it does not know the packages, as in a new container. */
const MANAGERS = [
  {
    refresh: ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', 'update'],
    install: ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', 'install', '-y', '--no-install-recommends'],
    probe: ['apt-get', '--version'],
  },
  { install: ['dnf', 'install', '-y'], probe: ['dnf', '--version'] },
  {
    refresh: ['apk', 'update'],
    install: ['apk', 'add'],
    probe: ['apk', '--version'],
    names: { 'python3-django': 'py3-django' },
  },
  {
    refresh: ['pacman', '-Sy', '--noconfirm'],
    install: ['pacman', '-S', '--noconfirm', '--needed'],
    probe: ['pacman', '--version'],
    names: { python3: 'python', 'python3-django': 'python-django' },
  },
  {
    refresh: ['zypper', '--non-interactive', 'refresh'],
    install: ['zypper', '--non-interactive', 'install'],
    probe: ['zypper', '--version'],
    names: { 'python3-django': 'python3-Django' },
  },
];

/** Some account that is nobody's. When we are root, plugins run as one, which may not enter root's folders. */
const NOBODY = { uid: 65534, gid: 65534, cwd: '/' };

const isRoot = process.getuid?.() === 0;
// In a container of somebody who is not root there may be no such account.
const plugin = isRoot && answers(['/bin/sh', '-c', ':'], NOBODY) ? NOBODY : {};

process.exitCode = main();

function main() {
  if (process.platform !== 'linux') {
    say(`There is nothing to install on ${process.platform}, where plugins are hardly confined: see docs/SECURITY.md.`);
    return 0;
  }
  const missing = lacking();
  if (missing.length === 0) {
    say(`There is nothing to install: ${list(TOOLS)} are here.${age()}`);
    return 0;
  }
  say(`${list(missing)} ${missing.length === 1 ? 'is' : 'are'} lacking:`);
  for (const { name, why } of missing) say(`  ${name} ${why}`);

  const manager = MANAGERS.find(({ probe }) => answers(probe));
  const before = isRoot ? [] : answers(['sudo', '-n', 'true']) ? ['sudo', '-n'] : null;
  const install = manager && [...manager.install, ...missing.map(({ name }) => manager.names?.[name] ?? name)];
  if (install && before) {
    if (!run([...before, ...install]) && manager.refresh && run([...before, ...manager.refresh])) {
      run([...before, ...install]);
    }
  } else if (install) {
    say(
      `May install nothing: neither are we root, nor is there a sudo without a password. As root, run\n  ${install.join(' ')}`,
    );
  } else {
    say('Knows no package manager here. Install the packages of these names, or with these programs.');
  }

  const still = lacking();
  if (still.length === 0) {
    say(`${list(TOOLS)} are here.${age()}`);
    return 0;
  }
  if (install && before) say(`As root, find out why this did not help:\n  ${install.join(' ')}`);
  say(`Without ${list(still)}, isopod starts, and does with less (docs/SECURITY.md); isopod check tells its grade.`);
  return process.env.CI === 'true' ? 1 : 0;
}

function lacking() {
  return TOOLS.filter(({ probe }) => !answers(probe, plugin));
}

function answers([file, ...args], as = {}) {
  const { status, error } = spawnSync(file, args, { stdio: 'ignore', timeout: 30_000, ...as });
  return error === undefined && status === 0;
}

/** Says so before it does. Nobody is there to be asked anything. */
function run(command) {
  say(`Running ${command.join(' ')}`);
  const [file, ...args] = command;
  return spawnSync(file, args, { stdio: ['ignore', 'inherit', 'inherit'] }).status === 0;
}

/** What there is to be said about the age of bubblewrap. */
function age() {
  const { stdout } = spawnSync('bwrap', ['--version'], { encoding: 'utf8', timeout: 30_000 });
  const [, major, minor] = /(\d+)\.(\d+)/.exec(stdout ?? '') ?? [];
  if (major === undefined) return '';
  const old = major < OLDEST_BUBBLEWRAP[0] || (Number(major) === OLDEST_BUBBLEWRAP[0] && minor < OLDEST_BUBBLEWRAP[1]);
  if (!old) return '';
  return `\nbubblewrap ${major}.${minor} is older than ${OLDEST_BUBBLEWRAP.join('.')}: a newer one raises the grade.`;
}

function list(tools) {
  const names = tools.map(({ name }) => name);
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}

function say(sentence) {
  process.stdout.write(`${sentence}\n`);
}
