/**
 * The same as room.py as far as Node gets by itself, for where there is no Python. What takes a system call of its own
 * comes out as "?" and why it could not be made.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const NO_PYTHON = '? it takes a system call of its own, and there is no python3';
// Before anything is opened: Node's own come after what it was given.
const descriptors = inherited();
const task = JSON.parse(process.argv.at(-1));

function attempt(action) {
  try {
    action();
    return 'ok';
  } catch (error) {
    return error.code ?? `? ${error.name}`;
  }
}

function orNull(action) {
  try {
    return action();
  } catch {
    return null;
  }
}

// Node has a few of its own, all of which it does not hand on; what is handed on can be told from them by that.
function inherited() {
  const found = [];
  for (let number = 3; number < 256; number++) {
    const info = orNull(() => readFileSync(`/proc/self/fdinfo/${number}`, 'latin1'));
    const flags = Number.parseInt(/^flags:\s*(\d+)/m.exec(info ?? '')?.[1] ?? '', 8);
    if (Number.isNaN(flags) || (flags & 0o2000000) !== 0) continue;
    if (orNull(() => fstatSync(number)) === null) continue;
    found.push({ number, leads: orNull(() => readlinkSync(`/proc/self/fd/${number}`)) });
  }
  return found;
}

const O_TMPFILE = 0o20200000;

function write(folder) {
  const outcome = attempt(() => closeSync(openSync(folder, constants.O_RDWR | O_TMPFILE, 0o600)));
  if (!['EOPNOTSUPP', 'EISDIR', 'EINVAL', 'ENOTSUP'].includes(outcome)) return outcome;
  const name = `${folder}/.isopod-${task.id}`;
  return attempt(() => {
    closeSync(openSync(name, 'wx', 0o600));
    unlinkSync(name);
  });
}

function longFile(folder) {
  return attempt(() => {
    const file = openSync(folder, constants.O_RDWR | O_TMPFILE, 0o600);
    try {
      ftruncateSync(file, 2 ** 36);
    } finally {
      closeSync(file);
    }
  });
}

function read(path) {
  return attempt(() => {
    if (statSync(path).isDirectory()) return readdirSync(path);
    const file = openSync(path, 'r');
    try {
      return readSync(file, Buffer.alloc(16));
    } finally {
      closeSync(file);
    }
  });
}

function status() {
  const wanted = ['NoNewPrivs', 'Seccomp', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'];
  const text = orNull(() => readFileSync('/proc/self/status', 'latin1')) ?? '';
  const lines = text.split('\n').map((line) => line.split(/:\s*/));
  return Object.fromEntries(lines.filter(([name]) => wanted.includes(name)));
}

const canary = task.canary.mark.join('');
const isCanary = () =>
  orNull(() => readFileSync(`/proc/${task.canary.pid}/cmdline`, 'latin1'))?.includes(canary) === true;

function processes() {
  const pids = (orNull(() => readdirSync('/proc')) ?? []).filter(
    (one) => /^\d+$/.test(one) && Number(one) !== process.pid,
  );
  const seen = pids.some((one) => orNull(() => readFileSync(`/proc/${one}/cmdline`, 'latin1'))?.includes(canary));
  return { seen: pids.length, canary: seen };
}

function others() {
  const { pid } = task.canary;
  const missing = () => Object.assign(new Error('not the canary'), { code: 'ESRCH' });
  const tries = {
    environ: attempt(() => {
      if (!readFileSync(`/proc/${pid}/environ`, 'latin1').includes(canary)) throw missing();
    }),
    mem: attempt(() => {
      if (!isCanary()) throw missing();
      closeSync(openSync(`/proc/${pid}/mem`, 'r'));
    }),
    ptrace: NO_PYTHON,
  };
  // In another namespace the number would be somebody else's, or nobody's; and 0 would be all of us.
  if (orNull(() => readlinkSync('/proc/self/ns/pid')) !== task.pidNamespace || pid <= 1) return tries;
  tries['signal to the service'] = attempt(() => process.kill(task.service, 0));
  tries['signal to the parent'] = attempt(() => process.kill(process.ppid, 0));
  tries.signal = attempt(() => process.kill(pid, isCanary() ? 'SIGKILL' : 0));
  return tries;
}

async function dial(options) {
  try {
    return await new Promise((resolve) => {
      const socket = connect(options);
      const over = (outcome) => {
        socket.destroy();
        resolve(outcome);
      };
      socket.setTimeout(1000, () => over('ETIMEDOUT'));
      socket.once('connect', () => over('ok')).once('error', (error) => over(error.code ?? `? ${error.name}`));
    });
  } catch (error) {
    return error.code ?? `? ${error.name}`;
  }
}

async function send(host, port, word) {
  try {
    return await new Promise((resolve) => {
      const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
      const over = (error) => {
        orNull(() => socket.close());
        resolve(error ? (error.code ?? `? ${error.name}`) : 'ok');
      };
      socket.once('error', over);
      // To connect sends nothing: it asks for a way.
      socket.connect(port, host, (error) => (error || word === null ? over(error) : socket.send(word, over)));
    });
  } catch (error) {
    return error.code ?? `? ${error.name}`;
  }
}

async function network() {
  return {
    tcp: await dial({ host: '127.0.0.1', port: task.tcp4 }),
    tcp6: task.tcp6 ? await dial({ host: '::1', port: task.tcp6 }) : '? the machine has no ::1',
    udp: await send('127.0.0.1', task.udp4, task.id),
    unix: await dial({ path: task.unix }),
    abstract: await dial({ path: `\0${task.abstract}` }),
    docker: await dial({ path: '/var/run/docker.sock' }),
    'route to 169.254.169.254': await send('169.254.169.254', 80, null),
    'route to 192.0.2.1': await send('192.0.2.1', 80, null),
    'route to 2001:db8::1': await send('2001:db8::1', 80, null),
    raw: NO_PYTHON,
  };
}

function devices() {
  const tried = [
    'mem',
    'kmsg',
    'fuse',
    'kvm',
    'net/tun',
    'vsock',
    'vhost-vsock',
    'loop-control',
    'loop0',
    'sda',
    'vda',
  ];
  const open = (name) =>
    closeSync(openSync(`/dev/${name}`, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY));
  return { open: [], tries: Object.fromEntries(tried.map((name) => [name, attempt(() => open(name))])) };
}

async function survivor(way) {
  const name = `isopod-survivor-${task.id}-${way}`;
  // A shell that is gone leaves an orphan.
  const orphan = `( ( exec env -i /bin/sh -c 'sleep 20; :' ${name} ) & ) &`;
  return await new Promise((resolve) => {
    try {
      const args = way === 'plain' ? ['-c', 'sleep 20; :', name] : ['-c', orphan];
      const child = spawn('/bin/sh', args, { detached: true, stdio: 'ignore' });
      child.once('error', (error) => resolve(error.code ?? '?'));
      child.once(way === 'plain' ? 'spawn' : 'exit', () => resolve('ok'));
    } catch (error) {
      resolve(error.code ?? '?');
    }
  });
}

/** As in room.py: the host answers with a signal when it has seen us under this name. */
async function show() {
  const patience = new AbortController();
  // Node counts on a signal of its own only where somebody listens; without one it would end us.
  process.once('SIGUSR2', () => patience.abort());
  process.title = task.shown;
  await sleep(1000, undefined, { signal: patience.signal }).catch(() => {});
}

await show();
const environment = Object.entries(process.env);
const places = [...new Set([process.cwd(), process.env.HOME ?? '/tmp', '/tmp', '/var/tmp', '/dev/shm'])];
const written = Object.fromEntries(places.map((place) => [place, write(place)]));
const writable = places.filter((place) => written[place] === 'ok');
const untried = (...names) => Object.fromEntries(names.map((name) => [name, NO_PYTHON]));
const report = {
  by: 'node',
  machine: null,
  descriptors,
  places: written,
  pid: process.pid,
  uid: process.getuid(),
  namespaces: Object.fromEntries(
    ['pid', 'user', 'net', 'mnt'].map((one) => [one, orNull(() => readlinkSync(`/proc/self/ns/${one}`))]),
  ),
  status: status(),
  environment: {
    names: environment.map(([name]) => name).sort(),
    secret: environment.some(([, value]) => createHash('sha256').update(value).digest('hex') === task.secretHash),
  },
  reads: Object.fromEntries(task.reads.map((path) => [path, read(path)])),
  plants: Object.fromEntries(
    task.plants.map((folder) => [folder, attempt(() => closeSync(openSync(`${folder}/${task.id}`, 'w', 0o600)))]),
  ),
  writes: Object.fromEntries(task.writes.map((folder) => [folder, write(folder)])),
  rooms: writable.map((path) => ({ path, kind: 'unknown', bytes: 0, beyond: NO_PYTHON })),
  longFile: Object.fromEntries(writable.map((place) => [place, longFile(place)])),
  core: 'untried',
  processes: processes(),
  network: await network(),
  families: untried('vsock', 'packet', 'alg'),
  calls: untried('keyctl', 'bpf', 'perf_event_open', 'io_uring_setup', 'userfaultfd', 'mount', 'ptrace', 'TIOCSTI'),
  nested: untried('unshare', 'clone'),
  rises:
    process.getuid() === 0
      ? {}
      : { 'setuid 0': attempt(() => process.setuid(0)), 'setgid 0': attempt(() => process.setgid(0)) },
  devices: devices(),
  survivors: { plain: await survivor('plain'), hidden: await survivor('hidden') },
  others: others(),
};
process.stdout.write(`${JSON.stringify({ output: report })}\n`, () => process.exit(0));
