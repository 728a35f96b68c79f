// What a plugin that answers requests may do to everybody else: nothing; and what it is told that it did.
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { Stocktaker } from '../../src/programs/stocktaker.ts';
import { ServerTrial } from '../support/servers.ts';

const BASE = '/api/plugins/hostile';

let trial: ServerTrial;
beforeAll(async () => {
  // What these plugins do keeps their own event loops busy, and the machine too.
  trial = await ServerTrial.start({ deaths: 100, blockedMs: 20_000 });
});
afterAll(() => trial[Symbol.asyncDispose]());

/** Why the process of a tenant's own has ended, after this request. */
async function ending(path: string, tenant: string, limits = {}, where = trial) {
  const visit = await where.enter('hostile', { tenant, limits });
  const { gone } = visit.upstream;
  visit[Symbol.dispose]();
  const over = gone.aborted ? Promise.resolve() : new Promise((resolve) => gone.addEventListener('abort', resolve));
  const answer = await where.ask('hostile', BASE + path, { tenant, limits });
  await over;
  const { code, message, details } = gone.reason;
  return { answer, code, message, details };
}

describe('it gets at nothing that is not its own', () => {
  test('of the files of this machine, of others and of ours', async () => {
    const inside = ['/proc/1/environ', '/etc/shadow', '/root/.bashrc', '../../../../../../etc/shadow'];
    const other = trial.residency('hello.cjs', { tenant: 'other' });
    const home = await other.home();
    const paths = [...inside, `${home.code}/hello.cjs`, `${home.data}/../code`];
    const { text, status } = await trial.ask('hostile', `${BASE}/read`, { method: 'POST', body: { paths } });
    assert.equal(status, 200, text);
    for (const [path, [itself, child]] of Object.entries(JSON.parse(text) as Record<string, [string, string]>)) {
      // Its own /tmp it may read, and none of that is in there.
      expect([path, itself]).toEqual([path, path.startsWith('/tmp/') ? 'ENOENT' : 'ERR_ACCESS_DENIED']);
      expect([path, child], path).toEqual([path, expect.stringMatching(/^failed: /)]);
    }
    const own = JSON.parse((await trial.ask('hostile', `${BASE}/own`)).text);
    expect(own).toEqual(['mine', '/home/node/app', '/home/node/app/data/default-user']);
    const links = JSON.parse((await trial.ask('hostile', `${BASE}/link`)).text);
    expect(links).toEqual(['ERR_ACCESS_DENIED', 'ERR_ACCESS_DENIED', expect.not.stringContaining('=')]);
  });

  test('of the network, though a server listens on this machine', async () => {
    const server = createServer((_, response) => response.end('reached')).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    for (const host of ['127.0.0.1', '169.254.169.254']) {
      const { text } = await trial.ask('hostile', `${BASE}/reach`, { method: 'POST', body: { port, host } });
      expect(['ECONNREFUSED', 'ENETUNREACH', 'timeout']).toContain(JSON.parse(text));
    }
    expect(JSON.parse((await trial.ask('hostile', `${BASE}/resolve`)).text)).toMatch(/^E/);
    server.close();
  });

  test('of the processes of this machine, and of what we say to its host', async () => {
    expect(JSON.parse((await trial.ask('hostile', `${BASE}/kill-parent`)).text)).toEqual(['EPERM', 'EPERM']);
    const environment = JSON.parse((await trial.ask('hostile', `${BASE}/environment`)).text);
    expect(Object.keys(environment).filter((name) => /ISOPOD|TOKEN|DATABASE|PG/i.test(name))).toEqual([
      expect.stringMatching(/^ISOPOD_/),
    ]);
    expect((await trial.ask('hostile', `${BASE}/child`)).text).toBe('42\n');
    expect(JSON.parse((await trial.ask('hostile', `${BASE}/fork`)).text)).toBe('ERR_ACCESS_DENIED');
  });
});

describe('it is ended, and the reason is named, when it', () => {
  test('blocks its event loop', async () => {
    await using strict = await ServerTrial.start({ blockedMs: 2_000 });
    const { code, details } = await ending('/block', 'blocks', {}, strict);
    expect([code, details.limit.name, details.limit.allowed]).toEqual([
      'plugin_timeout',
      'sillytavern.blockedMs',
      2_000,
    ]);
  });

  test('takes more memory than it may, in its heap or beside it', async () => {
    // V8 may give up before the process has all that it may have.
    for (const [path, residentMb] of [
      ['/leak', 192],
      ['/leak-heap', 512],
    ] as const) {
      const { code, message, details } = await ending(path, path, { residentMb });
      expect([path, code, details.limit?.name]).toEqual([path, 'plugin_memory_exceeded', 'residentMb']);
      expect(message).toMatch(/^(Used more memory than it may|Filled its JavaScript heap)/);
    }
    // What it has thrown away again does not count.
    const { text } = await trial.ask('hostile', `${BASE}/garbage`, { tenant: 'garbage', limits: { residentMb: 192 } });
    assert(Number(text) > 40_000_000, text);
  }, 90_000);

  test('starts too many processes or threads', async () => {
    await using strict = await ServerTrial.start({ deaths: 100, blockedMs: 5_000 });
    for (const path of ['/bomb', '/threads']) {
      const { code } = await ending(path, path, { residentMb: 2_048 }, strict);
      expect([path, code]).toEqual([
        path,
        expect.stringMatching(/^plugin_(resource_exceeded|memory_exceeded|crashed|timeout)$/),
      ]);
    }
  }, 90_000);

  test('throws in a timer, exits, aborts, or kills all that it may', async () => {
    const timer = await ending('/timer', 'timer');
    expect([timer.code, timer.details.pluginError?.message]).toEqual(['plugin_crashed', 'in a timer']);
    expect(timer.answer.text).toBe('soon');
    const exit = await ending('/exit', 'exit');
    expect([exit.code, exit.message]).toEqual(['plugin_crashed', 'Its process has ended with exit status 3']);
    expect(exit.answer.status).toBe(0);
    const abort = await ending('/abort', 'abort');
    expect([abort.code, abort.message]).toEqual(['plugin_crashed', 'Its process has ended by SIGABRT']);
  });

  test('floods its log, fills its folders, connects unasked, or says what is no frame', async () => {
    const flood = await ending('/flood', 'flood', { residentMb: 4_096 });
    expect([flood.code, flood.message, flood.details.limit?.name]).toEqual([
      'plugin_resource_exceeded',
      'Wrote far more to its log than it may',
      'logBytes',
    ]);
    const fill = await ending('/fill', 'fill');
    expect([fill.code, fill.details.limit?.name]).toEqual(['plugin_resource_exceeded', 'residents.dataMb']);
    expect(fill.message).toMatch(
      /^Keeps more in its folders than it may: \d+ MiB in \d+ files in data, 0 MiB in \d+ files in /,
    );
    const litter = await ending('/litter', 'litter');
    expect([litter.code, litter.details.limit?.name]).toEqual(['plugin_resource_exceeded', 'files']);
    const few = await trial.ask('hostile', `${BASE}/knock`, { method: 'POST', body: { times: 20 }, tenant: 'few' });
    expect(few.text).toBe('20');
    expect((await ending('/speak', 'speak')).code).toMatch(/^plugin_(invalid_output|crashed|timeout)$/);
  }, 90_000);
});

test('what others have to be looked at for does not count as its start', async () => {
  const limits = { bootMs: 5_000 };
  const { look } = Stocktaker.prototype;
  const slow = vi.spyOn(Stocktaker.prototype, 'look').mockImplementation(async function (this: Stocktaker, folders) {
    await sleep(limits.bootMs);
    return await look.call(this, folders);
  });
  expect((await trial.ask('hostile', `${BASE}/count`, { tenant: 'patient', limits })).text).toBe('0');
  expect(slow).toHaveBeenCalledWith(expect.arrayContaining([expect.stringContaining('/patient/')]));
  slow.mockRestore();
});

test('what it leaves behind ends with it, and another tenant’s goes on', async () => {
  const beside = await trial.ask('hostile', `${BASE}/count`, { tenant: 'beside' });
  expect(beside.text).toBe('0');
  const mark = 'sleep 300';
  await trial.ask('hostile', `${BASE}/leave-behind`, { tenant: 'leaver' });
  await trial.runtime.residents.stop('leaver', 'hostile', 'disable');
  const left = execFileSync('sh', ['-c', `pgrep -fx '${mark}' || true`], { encoding: 'utf8' });
  expect(left).toBe('');
  expect(trial.runtime.residents.state('beside', 'hostile')).toMatchObject({ is: 'running', runs: 1 });
});
