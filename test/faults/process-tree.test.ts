// What a plugin's processes may do to stay, to take everything, or to say nothing: conformance cases 87 to 94.
// Each is run for real, in each way this machine has to end a run, and then the kernel is asked what is left.
import { strict as assert } from 'node:assert';
import { afterEach, beforeEach, describe, test } from 'vitest';
import { hasOwnFiles } from '../../src/confinement/tier.ts';
import { Failure } from '../../src/core/failure.ts';
import { endsForCertain, MACHINE_TIERS, Trial } from '../support/process.ts';

describe.each(MACHINE_TIERS)('at the tier %s', (tier) => {
  let trial: Trial;

  beforeEach(async () => {
    trial = await Trial.start({ tier });
  });

  afterEach(async () => {
    await trial[Symbol.asyncDispose]();
  });

  // 87
  test('a busy loop is ended when its processor time is used up, long before the wall clock', async () => {
    const outcome = await trial.run(['busy.sh'], { limits: { cpuMs: 300 } });
    assert(!outcome.ok);
    assert.equal(outcome.failure.code, 'plugin_cpu_exceeded');
    assert.equal(outcome.failure.details.rung, 'killed');
    const { name, allowed, observed } = outcome.failure.details.limit ?? assert.fail('no limit');
    assert.deepEqual({ name, allowed }, { name: 'cpuMs', allowed: 300 });
    assert(observed > 300);
    assert(outcome.usage.cpuMs >= observed);
    await trial.assertNothingLeft();
  });

  test('processor time counts for the whole tree', async () => {
    assert.equal((await trial.failure(['busy-children.sh'], { limits: { cpuMs: 400 } })).code, 'plugin_cpu_exceeded');
    await trial.assertNothingLeft();
  });

  test('a program that burns its time before anyone looks is charged for it', async () => {
    const count = ['python3', '-c', 'import time\nwhile time.process_time() < 0.06: pass'];
    const outcome = await trial.run(count);
    assert(outcome.ok);
    // The kernel counts in ticks, and not every one of them is seen.
    assert(outcome.usage.cpuMs >= 30, `${outcome.usage.cpuMs} ms`);
  });

  test('the kernel says the same if we do not get to look: SIGXCPU is the limit of processor time', async () => {
    assert.equal((await trial.failure(['sh', '-c', 'kill -XCPU $$'])).code, 'plugin_cpu_exceeded');
  });

  // 88
  test('a program that sleeps for ever is ended by the deadline, whose failure is the answer', async () => {
    const failure = await trial.failure(['sleeper.sh'], { deadlineMs: 200 });
    assert.equal(failure.code, 'plugin_timeout');
    assert.equal(failure.details.rung, 'terminated');
    await trial.assertNothingLeft();
  });

  // 89
  test('a program that ignores every signal is gone all the same, and its child too', async () => {
    const failure = await trial.failure(['stubborn.sh'], { deadlineMs: 300 });
    assert.equal(failure.code, 'plugin_timeout');
    assert.equal(failure.details.rung, 'killed');
    await trial.assertNothingLeft();
  });

  // 90
  test('a fork bomb is ended and nothing of it is left', async () => {
    // As another plugin: the kernel counts those that were killed to its user until they are buried.
    const failure = await trial.failure(['python3', '{pluginDir}/fork-bomb.py'], { plugin: { id: 'bomb' } });
    assert.equal(failure.code, 'plugin_resource_exceeded');
    assert.equal(failure.details.limit?.name, 'processes');
    await trial.assertNothingLeft();
  });

  // 91
  test('an answer is handed out soon after the end of its program, though a grandchild holds the pipes', async () => {
    const outcome = await trial.run(['lingering.sh']);
    assert(outcome.ok);
    assert.equal(outcome.output, '"done"');
    assert.deepEqual(
      outcome.logs.map(({ message }) => message),
      ['[Plugin / Trial] last words'],
    );
    await trial.assertNothingLeft();
  });

  // 92
  test('a daemon in a session of its own does not outlive its run', async () => {
    assert.equal(await trial.output(['python3', '{pluginDir}/daemon.py']), 'done');
    await trial.assertNothingLeft();
  });

  test.runIf(endsForCertain(tier))('not even a daemon that nothing connects with its run any more', async () => {
    assert.equal(await trial.output(['python3', '{pluginDir}/hidden-daemon.py', trial.mark]), 'done');
    await trial.assertNothingLeft();
  });

  test.runIf(tier !== 'process-group')('a plugin cannot kill what watches over it', async () => {
    // Outside of a namespace this would be the init of this machine.
    const kill = ['sh', '-c', 'kill -KILL 1; echo "{\\"output\\":\\"still here\\"}"; sleep 600 &'];
    assert.equal(await trial.output(kill), 'still here');
    await trial.assertNothingLeft();
  });

  test.runIf(tier === 'process-group')('a plugin that kills what watches over it goes down with it', async () => {
    const failure = await trial.failure(['sh', '-c', 'kill -KILL $PPID; sleep 600'], { deadlineMs: 500 });
    // Where we are root it is somebody else, who may not.
    assert.equal(failure.code, process.getuid?.() === 0 ? 'plugin_timeout' : 'plugin_crashed');
    await trial.assertNothingLeft();
  });

  // 93
  test('ten megabytes of input do not bother a program that never reads them', async () => {
    assert.equal(await trial.output(['deaf.sh'], { args: { text: 'x'.repeat(10_000_000) } }), 'heard nothing');
    await trial.assertNothingLeft();
  });

  test('nor one that reads them all', async () => {
    const args = { text: 'x'.repeat(10_000_000) };
    assert((await trial.output(['sh', '-c', 'wc -c'], { args })).trim() > 10_000_000);
  });

  // 94
  test('a program that never has enough of its input is ended by the deadline', async () => {
    assert.equal((await trial.failure(['insatiable.sh'], { deadlineMs: 300 })).code, 'plugin_timeout');
    await trial.assertNothingLeft();
  });

  // 100
  test('memory of the tree above the limit ends the run', async () => {
    const outcome = await trial.run(['python3', '{pluginDir}/hoarder.py'], { limits: { residentMb: 64 } });
    assert(!outcome.ok);
    assert.equal(outcome.failure.code, 'plugin_memory_exceeded');
    assert.equal(outcome.failure.details.limit?.allowed, 64 * 1024 * 1024);
    assert(outcome.usage.peakMemoryBytes > 64 * 1024 * 1024);
    await trial.assertNothingLeft();
  });

  test('memory that no process has mapped counts, too: a file without a name that is held open', async () => {
    const unmapped = `import os, time
file = os.memfd_create('hoard')
for _ in range(200): os.write(file, b'x' * (1024 * 1024))
time.sleep(30)`;
    const failure = await trial.failure(['python3', '-c', unmapped], { limits: { residentMb: 64 } });
    assert.equal(failure.code, 'plugin_memory_exceeded');
    await trial.assertNothingLeft();
  });

  test.runIf(hasOwnFiles(tier))('files in the memory of a sandbox count, also those with nothing in them', async () => {
    const full = ['sh', '-c', 'head -c 60M /dev/zero >$TMPDIR/large; sleep 30'];
    const filled = await trial.failure(full, { limits: { residentMb: 32 } });
    assert.equal(filled.code, 'plugin_memory_exceeded');
    const names = `import os
for at in range(1000000): os.close(os.open(f'/tmp/{at}', os.O_CREAT | os.O_WRONLY))`;
    const many = await trial.failure(['python3', '-c', names], { limits: { residentMb: 64 } });
    assert.equal(many.code, 'plugin_memory_exceeded');
    await trial.assertNothingLeft();
  });

  test.runIf(hasOwnFiles(tier))('what is in memory once is counted once, however it is used', async () => {
    const mapped = `import mmap, os, time
file = os.open('/tmp/large', os.O_CREAT | os.O_RDWR)
os.ftruncate(file, 40 * 1024 * 1024)
memory = mmap.mmap(file, 40 * 1024 * 1024)
for at in range(0, len(memory), 4096): memory[at] = 1
time.sleep(1)
print('{"output":"mapped"}')`;
    assert.equal(await trial.output(['python3', '-c', mapped], { limits: { residentMb: 64 } }), 'mapped');
  });

  // Where /proc is the container's it cannot be said in there.
  test.runIf(tier === 'bubblewrap')('memory of System V, which nobody has to use to keep it, is little', async () => {
    const segments = `import ctypes
get = ctypes.CDLL(None).shmget
get.argtypes = [ctypes.c_int, ctypes.c_size_t, ctypes.c_int]
count = 0
while count < 64 and get(0, 1 << 20, 0o1600) >= 0: count += 1
print('{"output":%d}' % count)`;
    assert((await trial.output(['python3', '-c', segments])) <= 16);
  });

  test('memory that processes share is counted once', async () => {
    const forks = `import os, time
memory = bytearray(60 * 1024 * 1024)
for _ in range(8):
    if os.fork() == 0:
        time.sleep(0.5)
        os._exit(0)
time.sleep(0.4)
print('{"output":"shared"}')`;
    assert.equal(await trial.output(['python3', '-c', forks], { limits: { residentMb: 200 } }), 'shared');
  });

  test('memory that many share is not told as if each had it all, and what they do not share is', async () => {
    const forks = (each: number) => `import os, time
memory = bytearray(60 * 1024 * 1024)
for at in range(0, len(memory), 4096): memory[at] = 1
for _ in range(80):
    if os.fork() == 0:
        own = bytearray(${each} * 1024 * 1024)
        for at in range(0, len(own), 4096): own[at] = 1
        time.sleep(60)
        os._exit(0)
time.sleep(${each > 0 ? 25 : 1})
print('{"output":"shared"}')`;
    const shared = await trial.run(['python3', '-c', forks(0)], { limits: { residentMb: 400 } });
    assert(shared.ok);
    assert(shared.usage.peakMemoryBytes > 60 * 1024 * 1024, `${shared.usage.peakMemoryBytes}`);
    assert(shared.usage.peakMemoryBytes <= 400 * 1024 * 1024, `${shared.usage.peakMemoryBytes}`);
    const owned = await trial.failure(['python3', '-c', forks(6)], { limits: { residentMb: 400 } });
    assert.equal(owned.code, 'plugin_memory_exceeded');
    await trial.assertNothingLeft();
  });

  test('files that a plugin leaves in its folder are removed, however it has locked them away', async () => {
    assert.equal(await trial.output(['litterer.sh']), 'done');
    await trial.assertNothingLeft();
  });

  test('a file larger than any plugin needs is refused by the kernel', async () => {
    // Writing far behind the end makes a large file without filling the disk.
    const dd = ['sh', '-c', 'exec dd if=/dev/zero of="$HOME/large" bs=1 count=1 seek=2G 2>/dev/null'];
    const failure = await trial.failure(dd);
    assert.equal(failure.code, 'plugin_resource_exceeded');
    assert.equal(failure.details.limit?.name, 'fileBytes');
    await trial.assertNothingLeft();
  });

  test('leaves no core behind, and may open a bounded number of files', async () => {
    assert.equal(await trial.output(['sh', '-c', 'echo $(ulimit -c) $(ulimit -n)']), '0 1024\n');
  });

  test('the first cause wins: who cancels is told so, whatever the plugin does then', async () => {
    const cancel = new AbortController();
    const running = trial.failure(['stubborn.sh'], { signal: cancel.signal });
    setTimeout(() => cancel.abort(new Failure('cancelled', 'Not wanted any more')), 100);
    assert.equal((await running).code, 'cancelled');
    await trial.assertNothingLeft();
  });

  test('a run that is cancelled before it begins starts nothing', async () => {
    const signal = AbortSignal.abort(new Failure('cancelled', 'Never wanted'));
    assert.equal((await trial.failure(['sleeper.sh'], { signal })).code, 'cancelled');
    await trial.assertNothingLeft();
  });

  test('cancelling at any moment of a run leaves nothing', async () => {
    const runs = Array.from({ length: 24 }, (_, at) => trial.run(['lingering.sh'], { deadlineMs: at * 2 }));
    for (const outcome of await Promise.all(runs)) {
      if (!outcome.ok) assert.equal(outcome.failure.code, 'plugin_timeout');
    }
    await trial.assertNothingLeft();
  });

  test('closing the runtime ends what it runs', async () => {
    const running = trial.failure(['stubborn.sh']);
    setTimeout(() => trial.runtime[Symbol.asyncDispose](), 100);
    assert.equal((await running).code, 'draining');
    assert.deepEqual(trial.processes(), []);
  });

  test('many runs at once do not meet', async () => {
    const echo = ['sh', '-c', 'echo "{\\"output\\":$1}"; echo "$1" >&2', 'sh'];
    const all = await Promise.all(Array.from({ length: 20 }, (_, n) => trial.run([...echo, String(n)])));
    for (const [n, outcome] of all.entries()) {
      assert(outcome.ok);
      assert.equal(outcome.output, String(n));
      assert.deepEqual(
        outcome.logs.map(({ message }) => message),
        [`[Plugin / Trial] ${n}`],
      );
    }
    await trial.assertNothingLeft();
  });
});
