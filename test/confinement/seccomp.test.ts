// Goal: each call that the filters are to refuse is refused, by the error that was promised, on both architectures, and
// what programs need is not.
// Method: the committed bytes are run by an interpreter of our own over a table; then the filters of this machine are
// given to the kernel, by bubblewrap, and a program asks it for each of those calls.
import { strict as assert } from 'node:assert';
import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { assemble } from '../../src/confinement/seccomp/assembler.ts';
import { ARCHITECTURES, type Architecture, CALLS, type Call, NEWEST } from '../../src/confinement/seccomp/calls.ts';
import { RULES } from '../../src/confinement/seccomp/rules.ts';
import { type FilterKind, filterFile } from '../../src/confinement/seccomp.ts';
import { Scripts } from '../runtimes/isolate/scripts.ts';
import { temporaryFolder } from '../support/folder.ts';

const BOTH: Architecture[] = ['x64', 'arm64'];
const KINDS: FilterKind[] = ['program', 'offline', 'executor'];
const X64 = 0xc000003e;
const ARM64 = 0xc00000b7;
const I386 = 0x40000003;
const ARM = 0x40000028;
const RISCV64 = 0xc00000f3;

/** What lies above the 32 bits that the kernel reads. */
const JUNK = 0xdead_0000_0000n;

const REFUSED: Call[] = (
  'acct add_key adjtimex bpf chroot clock_adjtime clock_settime delete_module fanotify_init finit_module fsconfig ' +
  'fsmount fsopen fspick get_mempolicy init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp ' +
  'kexec_file_load kexec_load keyctl lookup_dcookie lsm_set_self_attr mbind memfd_secret migrate_pages modify_ldt ' +
  'mount mount_setattr move_mount move_pages name_to_handle_at nfsservctl open_by_handle_at open_tree ' +
  'open_tree_attr perf_event_open personality pidfd_getfd pivot_root process_madvise process_mrelease ' +
  'process_vm_readv process_vm_writev ptrace quotactl quotactl_fd reboot request_key set_mempolicy ' +
  'set_mempolicy_home_node setdomainname sethostname setns settimeofday swapoff swapon sysfs syslog umount2 unshare ' +
  'uselib userfaultfd ustat vhangup vmsplice'
).split(' ') as Call[];
const UNKNOWN: Call[] = ['cachestat', 'clone3', 'listmount', 'lsm_get_self_attr', 'lsm_list_modules', 'statmount'];
const NO_CONVERSATION: Call[] = (
  'accept accept4 bind connect execveat fanotify_mark inotify_add_watch inotify_init inotify_init1 listen ' +
  'mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd pidfd_open ' +
  'pidfd_send_signal remap_file_pages semctl semget semop semtimedop shmat shmctl shmdt shmget splice tee'
).split(' ') as Call[];

const { EPERM, ENOSYS, EPROTONOSUPPORT, EAFNOSUPPORT } = constants.errno;
const NEW = {
  NS: 0x20000,
  CGROUP: 0x2000000,
  UTS: 0x4000000,
  IPC: 0x8000000,
  USER: 1 << 28,
  PID: 1 << 29,
  NET: 1 << 30,
};
const THREAD = 0x3d0f00;
const SIGCHLD = 17;

type Trial = [call: Call, args: (number | bigint)[], expected: number | 'allow'];

/** Those that depend on arguments. */
const JUDGED: Trial[] = [
  ...Object.values(NEW).map((flag): Trial => ['clone', [flag | SIGCHLD], EPERM]),
  ['clone', [JUNK | BigInt(NEW.USER)], EPERM],
  ['clone', [SIGCHLD], 'allow'],
  ['clone', [THREAD], 'allow'],
  ['ioctl', [0, 0x5412], EPERM],
  ['ioctl', [0, 0x541c], EPERM],
  ['ioctl', [0, JUNK | 0x5412n], EPERM],
  ['ioctl', [0, JUNK | 0x541cn], EPERM],
  ['ioctl', [0x5412, 0x5401], 'allow'],
  ['ioctl', [0, 0x5413], 'allow'],
  ['socketpair', [1, 1, 0], 'allow'],
  ['socketpair', [30, 1, 0], EAFNOSUPPORT],
];
const SOCKETS: Trial[] = [
  ...[1, 2, 10].map((family): Trial => ['socket', [family, 1, 0], 'allow']),
  ['socket', [JUNK | 2n, 1, 0], 'allow'],
  ['socket', [16, 3, 0], 'allow'],
  ['socket', [16, 3, JUNK], 'allow'],
  ['socket', [16, 3, 12], EPROTONOSUPPORT],
  ['socket', [JUNK | 16n, 3, JUNK | 12n], EPROTONOSUPPORT],
  ...[0, 3, 4, 9, 15, 17, 21, 29, 30, 31, 38, 40, 43, 44, 45, 0x1_0001, 0x7fff_ffff].map(
    (family): Trial => ['socket', [family, 1, 0], EAFNOSUPPORT],
  ),
  ['socket', [JUNK | 40n, 1, 0], EAFNOSUPPORT],
];
const NO_SOCKETS = [0, 1, 2, 10, 16, 17, 40].map((family): Trial => ['socket', [family, 1, 0], EAFNOSUPPORT]);

function trials(kind: FilterKind): Trial[] {
  return [
    ...REFUSED.map((call): Trial => [call, [], EPERM]),
    ...UNKNOWN.map((call): Trial => [call, [], ENOSYS]),
    ...NO_CONVERSATION.map((call): Trial => [call, [], kind === 'executor' ? EPERM : 'allow']),
    ...JUDGED,
    ...(kind === 'program' ? SOCKETS : NO_SOCKETS),
  ];
}

describe.each(BOTH)('for %s', (arch) => {
  test.each(KINDS)('the filter %s is what the rules make', (kind) => {
    expect(filter(kind, arch).equals(assemble(RULES[kind], arch)), 'npm run build:seccomp').toBe(true);
  });

  test.each(KINDS)('the filter %s judges each call as promised', (kind) => {
    for (const [call, args, expected] of trials(kind)) {
      const number = CALLS[call][ARCHITECTURES[arch].column];
      if (number === null) continue;
      const of = `${kind} ${arch} ${call}(${args.join(', ')})`;
      expect(`${of}: ${judge(kind, arch, number, args)}`).toBe(`${of}: ${expected}`);
    }
  });

  test.each(KINDS)('the filter %s refuses nothing beside', (kind) => {
    const judged = new Set(trials(kind).map(([call]) => CALLS[call][ARCHITECTURES[arch].column]));
    const refused = Array.from({ length: NEWEST + 1 }, (_, number) => number).filter(
      (number) => !judged.has(number as never) && judge(kind, arch, number) !== 'allow',
    );
    expect(refused).toEqual([]);
  });

  test.each(KINDS)('the filter %s kills who calls as another machine', (kind) => {
    for (const machine of [X64, ARM64, I386, ARM, RISCV64, 0]) {
      const own = machine === (arch === 'x64' ? X64 : ARM64);
      for (const number of [0, 1, 20, 63, 0x4000_0000]) {
        const verdict = judge(kind, arch, number, [], machine);
        if (!own) expect(verdict).toBe('kill');
        else if (number < 0x4000_0000) expect(verdict).toBe('allow');
      }
    }
  });

  test.each(KINDS)('the filter %s knows no call that is newer than its rules', (kind) => {
    for (const number of [NEWEST + 1, NEWEST + 2, 512, 521, 547, 1000, 0x3fff_ffff, 0xffff_ffff])
      expect(judge(kind, arch, number)).toBe(ENOSYS);
    for (const number of [0x4000_0000, 0x4000_0000 | 39, 0x4000_0000 | 521, 0x7fff_ffff, 0xffff_fffe])
      expect(judge(kind, arch, number)).toBe(arch === 'x64' ? 'kill' : ENOSYS);
  });
});

test('there is a file for Linux on these two, and for nothing else', () => {
  for (const arch of BOTH) expect(readFileSync(filterFile('program', { platform: 'linux', arch }) ?? '')).toBeTruthy();
  expect(filterFile('program', { platform: 'linux', arch: 'riscv64' })).toBeNull();
  expect(filterFile('program', { platform: 'linux', arch: 'constructor' })).toBeNull();
  expect(filterFile('program', { platform: 'darwin', arch: 'arm64' })).toBeNull();
});

const SANDBOX =
  '--unshare-all --die-with-parent --cap-drop ALL --ro-bind / / --proc /proc --dev /dev --setenv TMPDIR /dev/shm'.split(
    ' ',
  );

// Everywhere but in CI, where there has to be: a machine without bubblewrap has none of this to show.
const confines = filterFile('program') !== null && (process.env.CI === 'true' || works());

describe.runIf(confines)('to the kernel', () => {
  const arch = process.arch as Architecture;
  /** Asks for each call, in a process of its own where it could be a way out of this one, and prints what it was told. */
  const ASK = `
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
told = []
for number, args in json.load(sys.stdin):
    ctypes.set_errno(0)
    got = libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(arg) for arg in args + [0] * (6 - len(args))])
    told.append("allow" if got >= 0 else ctypes.get_errno())
json.dump(told, sys.stdout)
`;

  async function ask(kind: FilterKind | null, list: readonly Trial[]) {
    const questions = list.map(([call, args]) => [CALLS[call][ARCHITECTURES[arch].column], args.map(Number)]);
    return JSON.parse(await confined(kind, ['python3', '-c', ASK], JSON.stringify(questions))) as (number | 'allow')[];
  }

  test.each(KINDS)('the filter %s gives the errors that were promised', async (kind) => {
    const known = trials(kind).filter(([call, , expected]) => {
      return expected !== 'allow' && CALLS[call][ARCHITECTURES[arch].column] !== null;
    });
    const told = await ask(kind, known);
    expect(known.map(([call, args], at) => `${call}(${args}): ${told[at]}`)).toEqual(
      known.map(([call, args, expected]) => `${call}(${args}): ${expected}`),
    );
  });

  test('it is the filter that refuses', async () => {
    const harmless: Trial[] = [
      ['personality', [0xffff_ffff], EPERM],
      ['get_mempolicy', [], EPERM],
      ['keyctl', [0, 0xffff_fffd], EPERM],
      ['kcmp', [1, 1, 0, 0, 0], EPERM],
      ['socket', [16, 3, 16], EPROTONOSUPPORT],
    ];
    const [without, withIt] = [await ask(null, harmless), await ask('program', harmless)];
    expect(withIt).toEqual(harmless.map(([, , expected]) => expected));
    for (const [at, error] of without.entries()) expect([at, error]).not.toEqual([at, withIt[at]]);
  });

  test.runIf(arch === 'x64')('calls of other machines are the end of who makes them', async () => {
    const call = (code: string) => `
import ctypes, mmap, os
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("${code}"))
run = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
child = os.fork()
if child == 0: os._exit(0 if run() > 0 else 1)
print(os.waitpid(child, 0)[1])`;
    // mov eax, getpid; int 0x80 as i386, syscall as x32, and syscall as what we are; ret.
    for (const [code, status] of [
      ['b814000000cd80c3', 31],
      ['b8270000400f05c3', 31],
      ['b8270000000f05c3', 0],
    ] as const)
      expect(await confined('program', ['python3', '-c', call(code)])).toMatch(
        new RegExp(`^(${status}|${status + 128})\n`),
      );
  });

  test('Python has its programs, threads, pools and addresses', async () => {
    const program = `
import multiprocessing, socket, subprocess, threading
said = []
said.append(subprocess.run(["sh", "-c", "echo $((6 * 7)) | cat"], capture_output=True, text=True).stdout.strip())
thread = threading.Thread(target=lambda: said.append("thread")); thread.start(); thread.join()
with multiprocessing.Pool(2) as pool: said.append(str(pool.map(abs, [-1, -2])))
with multiprocessing.Manager() as manager: said.append(str(list(manager.list([3]))))
said.append(str("lo" in [name for _, name in socket.if_nameindex()]))
socat = subprocess.Popen(["socat", "TCP-LISTEN:4000,bind=127.0.0.1,fork,reuseaddr", "EXEC:cat"])
while True:
    try: link = socket.create_connection(("127.0.0.1", 4000)); break
    except ConnectionRefusedError: assert socat.poll() is None
link.sendall(b"relayed"); link.shutdown(socket.SHUT_WR)
said.append(link.makefile().read()); socat.kill()
print(" ".join(said))`;
    expect(await confined('program', ['python3', '-c', program])).toBe('42 thread [1, 2] [3] True relayed\n');
  });

  test.each(['program', 'offline'] as const)(
    'Node has its files, programs and workers under the filter %s',
    async (kind) => {
      const program = `
const { execFileSync, fork } = require('node:child_process');
const { readFileSync, writeFileSync } = require('node:fs');
const { Worker } = require('node:worker_threads');
if (process.argv[2] === 'child') { process.send('child'); process.disconnect(); }
else {
  writeFileSync('/dev/shm/some', 'file');
  const said = [readFileSync('/dev/shm/some', 'utf8'), execFileSync('echo', ['program'], { encoding: 'utf8' }).trim()];
  new Worker("require('node:worker_threads').parentPort.postMessage('worker')", { eval: true }).on('message', (word) => {
    said.push(word);
    fork('/dev/shm/program.js', ['child']).on('message', (last) => console.log(...said, last));
  });
}`;
      const start = ['sh', '-c', 'cat > /dev/shm/program.js && exec "$0" /dev/shm/program.js', process.execPath];
      expect(await confined(kind, start, program)).toBe('file program worker child\n');
    },
  );

  test('an executor runs scripts under its filter', async () => {
    await using folder = await temporaryFolder();
    const node = join(folder.path, 'node');
    const sandbox = [...SANDBOX, '--seccomp', '9', '--', process.execPath].map((word) => `'${word}'`).join(' ');
    writeFileSync(node, `#!/bin/sh\nexec bwrap ${sandbox} "$@" 9<'${filterFile('executor')}'\n`);
    chmodSync(node, 0o755);
    await using scripts = await Scripts.open(undefined, { nodePath: node });
    const outcome = await scripts.run(await scripts.add('({ Output: input.Args.a + 1 })'), { args: { a: 41 } });
    assert(outcome.ok, JSON.stringify(outcome));
    expect(JSON.parse(outcome.output)).toBe(42);
  });
});

function works(): boolean {
  try {
    execFileSync('bwrap', [...SANDBOX, '--', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

async function confined(kind: FilterKind | null, command: string[], input = ''): Promise<string> {
  const filter = kind === null ? [] : ['--seccomp', '9'];
  const line = ['bwrap', ...SANDBOX, ...filter, '--', ...command];
  const running = promisify(execFile)('sh', ['-c', '"$@" 9<"$0"', filterFile(kind ?? 'program') ?? '', ...line]);
  running.child.stdin?.end(input);
  const { stdout } = await running;
  return stdout;
}

function filter(kind: FilterKind, arch: Architecture): Buffer {
  return readFileSync(filterFile(kind, { platform: 'linux', arch }) ?? '');
}

/** What the kernel would do, by the committed bytes: a number is the error that the program is told. */
function judge(
  kind: FilterKind,
  arch: Architecture,
  number: number,
  args: readonly (number | bigint)[] = [],
  machine: number = arch === 'x64' ? X64 : ARM64,
): number | 'allow' | 'kill' {
  const told = Buffer.alloc(64);
  told.writeUInt32LE(number, 0);
  told.writeUInt32LE(machine, 4);
  for (const [at, arg] of args.entries()) told.writeBigUInt64LE(BigInt(arg), 16 + at * 8);
  const verdict = interpret(filter(kind, arch), told);
  if (verdict === 0x7fff0000) return 'allow';
  if (verdict === 0x80000000) return 'kill';
  assert.equal(verdict & 0xffff0000, 0x00050000);
  return verdict & 0xffff;
}

function interpret(program: Buffer, told: Buffer): number {
  let a = 0;
  for (let at = 0; ; at += 8) {
    const [code, k] = [program.readUInt16LE(at), program.readUInt32LE(at + 4)];
    const branch = (holds: boolean) => program.readUInt8(at + (holds ? 2 : 3)) * 8;
    if (code === 0x20) a = told.readUInt32LE(k);
    else if (code === 0x06) return k;
    else if (code === 0x05) at += k * 8;
    else if (code === 0x15) at += branch(a === k);
    else if (code === 0x35) at += branch(a >= k);
    else if (code === 0x45) at += branch((a & k) !== 0);
    else throw new Error(`No such instruction: ${code}`);
  }
}
