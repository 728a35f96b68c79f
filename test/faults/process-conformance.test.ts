// Conformance cases 87 to 108, over HTTP, at each tier that this machine has: what a plugin does, and what comes of it.
// What a tier does not promise is asserted as well, so that nobody comes to rely on it (and so that a tier which gets
// better says so).
import { strict as assert } from 'node:assert';
import { randomUUID } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../support/folder.ts';
import { merged } from '../support/overrides.ts';
import { FIXTURES, marked } from '../support/process.ts';
import { startTestService, writePlugin } from '../support/service.ts';
import { forced, PROMISED, type Promised, TIERS_HERE } from '../support/tiers.ts';

const SECRET = 'canary-of-the-service';
const NONE = '0000000000000000';

/** What is run, and what is answered: the status and parts of the body. */
type Case = {
  exec: string[];
  args?: Record<string, unknown>;
  limits?: Record<string, number>;
  is: Record<string, unknown> & { status?: number };
  /** Where it is so; without it at each tier. */
  where?: (promised: Promised) => boolean;
};

const fixture = (name: string) => (name.endsWith('.py') ? ['python3', `{pluginDir}/${name}`] : [name]);
const printing = (hex: string) => ['python3', '-c', `import sys; sys.stdout.buffer.write(bytes.fromhex("${hex}"))`];
const bytes = (text: string) => printing(Buffer.from(text, 'latin1').toString('hex'));
const failed = (status: number, code: string, more: Record<string, unknown> = {}) => ({ status, code, ...more });
const hits = (name: string) => ({ limit: expect.objectContaining({ name }) });
/** Asked to end, or made to. */
const stopped = { rung: expect.stringMatching(/^(terminated|killed)$/) };

const CASES: Record<string, Case> = {
  '87 a busy loop is ended when its processor time is used up': {
    exec: fixture('busy.sh'),
    limits: { cpuMs: 300 },
    is: failed(504, 'plugin_cpu_exceeded', hits('cpuMs')),
  },
  '88 who sleeps for ever is ended at the deadline': {
    exec: fixture('sleeper.sh'),
    limits: { wallMs: 400 },
    is: failed(504, 'plugin_timeout', stopped),
  },
  '89 who ignores every signal is killed': {
    exec: fixture('stubborn.sh'),
    // It has to get as far as to ignore them.
    limits: { wallMs: 2_000 },
    is: failed(504, 'plugin_timeout', { rung: 'killed' }),
  },
  '90 a fork bomb meets its bound': {
    exec: fixture('fork-bomb.py'),
    is: failed(502, 'plugin_resource_exceeded', hits('processes')),
  },
  '91 a grandchild that holds the pipes does not hold the answer': {
    exec: fixture('lingering.sh'),
    is: { output: 'done' },
  },
  '92 a daemon in a session of its own does not survive': { exec: fixture('daemon.py'), is: { output: 'done' } },
  '93 ten megabytes of input do not bother who never reads them': {
    exec: fixture('deaf.sh'),
    args: { text: 'x'.repeat(10_000_000) },
    is: { output: 'heard nothing' },
  },
  '94 who never has enough of its input is ended at the deadline': {
    exec: fixture('insatiable.sh'),
    limits: { wallMs: 400 },
    is: failed(504, 'plugin_timeout'),
  },
  '96 an answer without end is cut at its limit': {
    exec: ['yes'],
    limits: { outputBytes: 100_000 },
    is: failed(502, 'plugin_output_too_large', hits('outputBytes')),
  },
  '97 a log without end is too much at some point': {
    exec: fixture('torrent.sh'),
    is: failed(502, 'plugin_resource_exceeded', hits('logBytes')),
  },
  '97 a line of 50 MB is cut, and the next one is whole': {
    exec: fixture('endless-line.py'),
    is: {
      output: 'done',
      logs: [
        {
          message: expect.stringMatching(
            /^\[Plugin \/ [^\]]*\] x{60000,66000} … \(the rest of this line was cut off\)$/,
          ),
        },
        { message: expect.stringMatching(/\] short$/) },
      ],
    },
  },
  '98 garbage behind an answer makes it a text': { exec: bytes('{"output":1} x'), is: { output: '{"output":1} x' } },
  '98 so do two answers': { exec: bytes('{"output":1}{"output":2}'), is: { output: '{"output":1}{"output":2}' } },
  '98 and a byte order mark': { exec: bytes('\xef\xbb\xbf{"output":1}'), is: { output: '\ufeff{"output":1}' } },
  '98 and a NUL': { exec: bytes('{"output":1}\0'), is: { output: '{"output":1}\0' } },
  '98 what is not UTF-8 is replaced': { exec: bytes('{"output":"a\xffb"}'), is: { output: 'a\ufffdb' } },
  '98 CRLF is white space': { exec: bytes('{"output":1}\r\n'), is: { output: 1 } },
  '99 half an answer is none': {
    exec: fixture('half-json.sh'),
    is: failed(502, 'plugin_invalid_output', { output: '{"output":{"title":"half' }),
  },
  '100 memory that is touched counts': {
    exec: fixture('hoarder.py'),
    limits: { residentMb: 64 },
    is: failed(502, 'plugin_memory_exceeded', hits('residentMb')),
  },
  '100 what is written into memory has a bound of its own, and 16 GB cannot be reserved': {
    exec: fixture('fill.py'),
    args: { folders: ['/tmp', '/dev/shm', '/var/tmp', '/'] },
    where: ({ files }) => files === 'own',
    is: {
      output: {
        '/tmp': { written: 64 << 20, why: 'ENOSPC', reserved: expect.stringMatching(/^(EFBIG|ENOSPC)$/) },
        '/dev/shm': { written: 16 << 20, why: 'ENOSPC', reserved: expect.stringMatching(/^(EFBIG|ENOSPC)$/) },
        '/var/tmp': { written: 64 << 20, why: 'ENOSPC', reserved: expect.stringMatching(/^(EFBIG|ENOSPC)$/) },
        '/': { written: 0, why: 'EROFS', reserved: null },
      },
    },
  },
  '100 elsewhere a file has one': {
    exec: fixture('fill.py'),
    args: { folders: ['.'] },
    where: ({ files }) => files !== 'own',
    is: { output: { '.': { why: 'enough', reserved: 'EFBIG' } } },
  },
  '101 two thousand files are gone afterwards, and descriptors have a bound': {
    exec: fixture('many-files.py'),
    is: { output: { opened: expect.toSatisfy((count: number) => count > 900 && count < 1_024), why: 'EMFILE' } },
  },
  '102 who dies by abort leaves no core': {
    exec: fixture('abort.py'),
    is: failed(502, 'plugin_crashed', { detail: expect.stringContaining('SIGABRT') }),
  },
  '104 secrets of the machine, of the service and of other tenants are not there': {
    exec: fixture('look.py'),
    args: {
      paths: [
        '/etc/shadow',
        '/etc/ssh/sshd_config',
        '/var/run/docker.sock',
        '/root/.bashrc',
        '$data',
        '$config',
        '$neighbour',
      ],
    },
    where: ({ files }) => files !== 'machine',
    is: {
      output: expect.toSatisfy((seen: Record<string, string>) => Object.values(seen).every((how) => /^E/.test(how))),
    },
  },
  '104 nor are the variables of the service': {
    exec: fixture('look.py'),
    args: { paths: ['$environ', '/proc/1/environ', '/proc/self/environ'] },
    where: ({ processes }) => processes !== 'machine',
    is: {
      output: expect.toSatisfy((seen: Record<string, string>) => !JSON.stringify(seen).includes(SECRET)),
    },
  },
  '104 nor what it was called with': {
    exec: fixture('look.py'),
    args: { paths: ['$cmdline'] },
    where: ({ processes }) => processes === 'own',
    is: { output: expect.toSatisfy((seen: object) => !JSON.stringify(seen).includes('vitest')) },
  },
  '105 there is nobody in its network': {
    exec: fixture('reach.py'),
    args: {
      ways: {
        tcp: '$tcp',
        tcp6: '$tcp',
        udp: '$udp',
        metadata: 0,
        icmp: 0,
        unix: '$unix',
        abstract: '$abstract',
        vsock: 0,
      },
    },
    where: ({ network }) => network === 'own',
    is: {
      output: {
        tcp: 'ECONNREFUSED',
        tcp6: 'ECONNREFUSED',
        // It is sent to nobody; that it did not come is asserted below.
        udp: 'sent',
        metadata: 'ENETUNREACH',
        icmp: 'EPERM',
        unix: 'ENOENT',
        abstract: 'ECONNREFUSED',
        vsock: 'EAFNOSUPPORT',
      },
    },
  },
  '105 nor is there the service itself': {
    exec: fixture('reach.py'),
    args: { ways: { tcp: '$service' } },
    where: ({ network }) => network === 'own',
    is: { output: { tcp: 'ECONNREFUSED' } },
  },
  '105 the network of the machine is within reach': {
    exec: fixture('reach.py'),
    args: { ways: { tcp: '$tcp', udp: '$udp', abstract: '$abstract' } },
    where: ({ network }) => network === 'machine',
    is: { output: { tcp: 'connected', udp: 'sent', abstract: 'connected' } },
  },
  '106 what no plugin needs of the kernel may not even be asked': {
    exec: fixture('call.py'),
    where: ({ calls }) => calls === 'filtered',
    is: {
      output: {
        calls: expect.toSatisfy(({ clone3, ...others }: Record<string, string>) => {
          expect({ clone3, others: [...new Set(Object.values(others))] }).toEqual({
            clone3: 'ENOSYS',
            others: ['EPERM'],
          });
          return true;
        }),
        uid: expect.toSatisfy((uid: number) => uid > 0),
        rights: {
          ...{ CapInh: NONE, CapPrm: NONE, CapEff: NONE, CapBnd: NONE, CapAmb: NONE },
          NoNewPrivs: '1',
          Seccomp: '2',
        },
      },
    },
  },
  '106 without a filter it may be asked': {
    exec: fixture('call.py'),
    where: ({ calls }) => calls === 'all',
    is: {
      output: { calls: { keyctl: expect.not.stringMatching('EPERM'), clone3: 'EINVAL' }, rights: { Seccomp: '0' } },
    },
  },
  '108 nothing in a command line is read by a shell': {
    exec: [
      ...fixture('show.py'),
      'a b',
      '"',
      "'",
      ';touch x',
      '$(touch y)',
      '`touch z`',
      '-rf',
      '--',
      '*',
      '\n',
      '{pluginDir}',
    ],
    is: {
      output: {
        argv: [
          expect.stringMatching(/show\.py$/),
          ...['a b', '"', "'", ';touch x', '$(touch y)', '`touch z`', '-rf', '--', '*', '\n'],
          expect.stringMatching(/\/cases$/),
        ],
      },
    },
  },
};

describe.each(TIERS_HERE)('at the tier %s', (tier) => {
  const promised = PROMISED[tier];
  const mark = randomUUID();
  const names = Object.keys(CASES);
  const scope = new AsyncDisposableStack();
  let service: Awaited<ReturnType<typeof startTestService>>;
  let outside: Outside;
  let temporary: string;
  let places: Record<string, string | number>;

  beforeAll(async () => {
    temporary = scope.use(await temporaryFolder()).path;
    scope.use(set({ ISOPOD_TEST_SECRET: SECRET, TMPDIR: temporary }));
    scope.defer(killMarked);
    outside = scope.use(await Outside.open(temporary));
    // Nothing is kept for later, as what is left is looked for.
    const config = merged(forced(tier), { processes: { environment: { TRIAL: mark }, parked: 0 } });
    service = scope.use(await startTestService({ plugins: { cases: FIXTURES }, config }));
    // Where files are not laid out anew for each program, it gets to its own as anybody does.
    for (const folder of [temporary, service.folder]) await chmod(folder, 0o755);
    const manifest = (...exec: string[]) => `name: Case\nexec: ${JSON.stringify(exec)}\n`;
    await writePlugin(join(service.folder, 'plugins/stash/cases'), {
      ...Object.fromEntries(names.map((name, at) => [`case-${at}.yml`, manifest(...(CASES[name]?.exec ?? []))])),
      'hidden.yml': manifest(...fixture('hidden-daemon.py'), mark),
      'leave.yml': manifest(...fixture('leave.py')),
      'show.yml': manifest(...fixture('show.py')),
      'calling.yml': `interface: rpc\n${manifest(...fixture('rpc-calling.py'))}`,
      'preloading.yml': `env: { LD_PRELOAD: /tmp/x.so }\n${manifest(...fixture('show.py'))}`,
    });
    places = {
      ...outside.places,
      $service: Number(new URL(service.url).port),
      $data: join(service.folder, 'data/secret.txt'),
      $config: join(service.folder, 'isopod.yaml'),
      $neighbour: join(service.folder, 'data/tenants/other/plugins/stash/theirs/secret.txt'),
      $environ: `/proc/${process.pid}/environ`,
      $cmdline: `/proc/${process.pid}/cmdline`,
    };
    for (const place of ['$data', '$config', '$neighbour']) {
      await mkdir(dirname(String(places[place])), { recursive: true });
      await writeFile(String(places[place]), SECRET, { mode: 0o644 });
    }
    assert.equal((await service.ask('POST', '/v1/plugins/reload')).status, 200);
  });

  afterAll(() => scope.disposeAsync());

  function killMarked(): void {
    for (const pid of marked(mark)) process.kill(pid, 'SIGKILL');
  }

  /** Nothing is waited for: when the answer is there, its run has been cleared away. */
  async function assertNothingLeft(): Promise<void> {
    assert.deepEqual(marked(mark), [], 'processes are left');
    const rooms = (await readdir(temporary)).filter((name) => name.startsWith('isopod-process-'));
    for (const room of rooms) {
      const left = (await readdir(join(temporary, room))).filter((name) => /^(run|input|door)-/.test(name));
      assert.deepEqual(left, [], 'files are left');
    }
  }

  for (const [at, name] of names.entries()) {
    const { exec: _, args = {}, limits = {}, is, where = () => true } = CASES[name] as Case;
    test.runIf(where(promised))(name, async () => {
      const body = JSON.stringify({ args, limits }, (_key, value) => places[value] ?? value);
      const [answer, other] = await Promise.all([
        service.invoke(`case-${at}`, body, '?include=logs'),
        name.startsWith('90') ? service.invoke('show') : null,
      ]);
      const { status = 200, ...parts } = is;
      expect({ ...answer.body, status: answer.status }).toMatchObject({ ...parts, status });
      if (other !== null) assert.equal(other.status, 200, 'others have to wait');
      // Hundreds that all have to die take a busy machine longer than a run waits for.
      if (name.startsWith('90')) await expect.poll(() => marked(mark), { timeout: 20_000 }).toEqual([]);
      await assertNothingLeft();
    });
  }

  // Where it is not promised there would be somebody left to be found, and by nobody.
  test.runIf(promised.end === 'certain')(
    '92 a daemon that nothing connects with its run any more ends, too',
    async () => {
      assert.equal((await service.invoke('hidden')).body.output, 'done');
      await assertNothingLeft();
    },
  );

  test('102 nor has it left a core with its files', async () => {
    const files = await readdir(join(service.folder, 'plugins/stash/cases'));
    assert.deepEqual(
      files.filter((name) => /^core/.test(name)),
      [],
    );
  });

  test("103 what is written outside of its folder persists only where the files are the machine's", async () => {
    const folders = ['/tmp', '/dev/shm', '/var/tmp', '/run/lock', '/etc', '/usr/lib'];
    const left = `isopod-${mark}`;
    const body = { args: { folders, name: left } };
    const outcome = [await service.invoke('leave', body), await service.invoke('leave', body)];
    const onMachine = folders.filter((folder) => existsSync(join(folder, left)));
    for (const folder of onMachine) await rm(join(folder, left));
    const [first, second] = outcome.map((answer) => answer.body.output);
    assert.deepEqual(first.found, []);
    assert.deepEqual(second.found, promised.files === 'machine' ? onMachine : []);
    if (promised.files === 'machine') assert(onMachine.includes('/tmp'), 'it could not write there');
    else assert.deepEqual(onMachine, []);
    if (promised.files === 'own') {
      const { '/etc': etc, '/usr/lib': usr, '/tmp': tmp } = first.left;
      assert.equal(tmp, 'left');
      for (const how of [etc, usr]) assert.match(how, /^E(ROFS|ACCES)$/);
    }
  });

  test('105 datagrams come to nobody where the network is its own', () => {
    assert.equal(outside.heard > 0, promised.network === 'machine');
  });

  test('105 the application is where the program is told, in whatever network', async () => {
    const { body } = await service.invoke('calling');
    expect(body).toMatchObject({ output: { version: {} }, usage: { hostCalls: 1 } });
    await assertNothingLeft();
  });

  test('107 of variables it has those of a list, and a plugin can set none', async () => {
    const { output } = (await service.invoke('show', { args: { LD_PRELOAD: 'x', environment: { BASH_ENV: 'x' } } }))
      .body;
    const known =
      /^(PATH|PWD|SHLVL|_|TZ|LANG|LANGUAGE|LC_[A-Z]+|HOME|TMPDIR|TRIAL|ISOPOD_RUN|PYTHONPATH|(https?|HTTPS?|no|NO)_(proxy|PROXY)|NODE_USE_ENV_PROXY)$/;
    assert.deepEqual(
      Object.keys(output.environment).filter((name) => !known.test(name)),
      [],
    );
    assert(!JSON.stringify(output).includes(SECRET));
    const { refused } = (await service.get('/v1/plugins')).body;
    expect(refused).toContainEqual(expect.objectContaining({ reason: expect.stringContaining('env') }));
  });
});

/** What of this machine a program could get to: sockets of each kind, with somebody at the other end. */
class Outside implements AsyncDisposable {
  readonly places: Record<string, string | number>;
  /** Datagrams so far. */
  heard = 0;
  readonly #scope: AsyncDisposable;

  private constructor(places: Record<string, string | number>, scope: AsyncDisposable) {
    this.places = places;
    this.#scope = scope;
  }

  static async open(folder: string): Promise<Outside> {
    const scope = new AsyncDisposableStack();
    const listen = async (to: object) => {
      const server = createServer((socket) => socket.on('error', () => {}).destroy());
      scope.defer(() => void server.close());
      await once(server.listen(to), 'listening');
      return server.address() as AddressInfo;
    };
    const { port } = await listen({ host: '::', port: 0 });
    const $unix = join(folder, 'outside.sock');
    await listen({ path: $unix });
    const $abstract = `isopod-${randomUUID()}`;
    await listen({ path: `\0${$abstract}` });
    const datagrams = createSocket('udp4');
    scope.defer(() => void datagrams.close());
    await once(datagrams.bind(0, '127.0.0.1'), 'listening');
    const outside = new Outside({ $tcp: port, $udp: datagrams.address().port, $unix, $abstract }, scope);
    datagrams.on('message', () => outside.heard++);
    return outside;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope[Symbol.asyncDispose]();
  }
}

/** Variables of this process, until its scope ends. */
function set(variables: Record<string, string>): Disposable {
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  return {
    [Symbol.dispose]() {
      for (const [name, value] of before) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    },
  };
}
