import { strict as assert } from 'node:assert';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Failure } from '../../../src/core/failure.ts';
import { ServerTrial } from '../../support/servers.ts';

let trial: ServerTrial;
beforeAll(async () => {
  trial = await ServerTrial.start();
});
afterAll(() => trial[Symbol.asyncDispose]());

test('a file and a folder are started once, say what they answer, and do', async () => {
  const [first, second] = await Promise.all([
    trial.ask('hello.cjs', '/api/plugins/example/foo'),
    trial.ask('hello.cjs', '/api/plugins/example/foo'),
  ]);
  expect([first.status, first.text, second.text]).toEqual([200, 'bar', 'bar']);
  const portrait = trial.desk.portraits.find(({ serves }) => serves?.id === 'example');
  expect(trial.desk.portraits.filter(({ serves }) => serves?.id === 'example')).toHaveLength(1);
  expect(portrait).toMatchObject({ serves: { routes: [{ method: 'GET', path: '/foo' }] }, actions: [], fields: [] });
  const routes = await trial.ask('routes', '/api/plugins/routes/nowhere');
  expect([routes.status, routes.verdict]).toEqual([404, 'unrouted']);
  expect(first.verdict).toBe('answered');
  assert.equal(trial.runtime.residents.state('tenant', 'hello.cjs')?.is, 'running');
});

test('each tenant has a process and files of its own, which last longer than the process', async () => {
  const own = async (tenant: string) =>
    JSON.parse((await trial.ask('hostile', '/api/plugins/hostile/own', { tenant })).text);
  await own('one');
  const home = await trial.residency('hostile', { tenant: 'one' }).home();
  expect(readFileSync(join(home.data, 'default-user/mine.txt'), 'utf8')).toBe('mine');
  expect(readFileSync(join(home.code, 'written.txt'), 'utf8')).toBe('mine');
  await trial.ask('hostile', '/api/plugins/hostile/count', { tenant: 'two' });
  const other = await trial.residency('hostile', { tenant: 'two' }).home();
  expect(existsSync(join(other.data, 'default-user/mine.txt'))).toBe(false);
  await trial.runtime.residents.stop('one', 'hostile', 'reload');
  const visitor = { handle: 'alice', name: 'Alice', admin: false };
  const again = await trial.ask('hostile', '/api/plugins/hostile/own', { tenant: 'one', visitor });
  expect(JSON.parse(again.text)[2]).toBe('/home/node/app/data/alice');
  expect(readFileSync(join(home.data, 'alice/mine.txt'), 'utf8')).toBe('mine');
});

describe('what goes wrong', () => {
  test('while it is loaded is told to whoever asks, in its own words', async () => {
    const failing = trial.ask('hello-broken.cjs', '/api/plugins/example/foo');
    await assert.rejects(failing, ({ code, details }: Failure) => {
      expect([code, details.pluginError?.name]).toEqual(['plugin_boot_failed', 'ReferenceError']);
      return true;
    });
    expect(trial.logs('hello-broken.cjs')).toMatch(/error ReferenceError/);
    await assert.rejects(trial.ask('broken-import', '/api/plugins/broken-import/'), ({ details }: Failure) => {
      expect(details.pluginError?.message).toBe("Unexpected token ';' (in lib/helper.mjs:2:19)");
      return true;
    });
  });

  test('with what it calls itself is what the service says', async () => {
    await using strict = await ServerTrial.start();
    strict.desk.described = () => {
      throw new Failure('plugin_boot_failed', 'It may not be called so');
    };
    await assert.rejects(strict.ask('hello.cjs', '/api/plugins/example/foo'), { message: 'It may not be called so' });
    expect(strict.runtime.residents.state('tenant', 'hello.cjs')?.is).toBe('resting');
  });

  test('at a request is known of that request alone', async () => {
    const [thrown, rejected, fine] = await Promise.all(
      ['/throws', '/rejects', '/fine'].map((path) => trial.ask('careless', `/api/plugins/careless${path}`)),
    );
    expect([thrown?.verdict, thrown?.failure?.code, thrown?.failure?.details.pluginError?.message]).toEqual([
      'fault',
      'plugin_error',
      'thrown secret',
    ]);
    expect([rejected?.failure?.details.pluginError?.name, fine?.text, fine?.failure]).toEqual([
      'RangeError',
      'fine',
      null,
    ]);
    expect(trial.logs('careless')).toMatch(/error TypeError: thrown secret/);
  });

  test('in its exit is logged, and it ends', async () => {
    await trial.ask('careless', '/api/plugins/careless/fine');
    await trial.runtime.residents.stop('tenant', 'careless', 'disable');
    expect(trial.logs('careless')).toMatch(/will not stop/);
    expect(trial.runtime.residents.state('tenant', 'careless')?.is).toBe('ended');
  });
});

test('who does nothing gives way, and who has a timer does not', async () => {
  await using small = await ServerTrial.start({ most: 1, perTenant: 1 });
  await small.ask('hello.cjs', '/api/plugins/example/foo');
  await small.ask('careless', '/api/plugins/careless/forever');
  expect(small.runtime.residents.state('tenant', 'hello.cjs')?.is).toBe('ended');
  const start = small.runtime.residents.start(small.residency('hello.cjs'), new AbortController().signal, 'made');
  await assert.rejects(start, { code: 'concurrency_limited' });
});

test('where no room can be laid out, it finds its files where they lie', async () => {
  await using weak = await ServerTrial.start({ tier: 'process-group' });
  expect((await weak.ask('hello.cjs', '/api/plugins/example/foo')).text).toBe('bar');
  const { text } = await weak.ask('hostile', '/api/plugins/hostile/own');
  const home = await weak.residency('hostile').home();
  expect(JSON.parse(text)).toEqual(['mine', join(home.code, '../..'), join(home.data, 'default-user')]);
  const paths = ['/etc/passwd', join(weak.folder, 'tenant/hello.cjs/code/plugins/hello.cjs')];
  const read = await weak.ask('hostile', '/api/plugins/hostile/read', { method: 'POST', body: { paths } });
  for (const [itself] of Object.values(JSON.parse(read.text) as Record<string, string[]>)) {
    expect(itself).toBe('ERR_ACCESS_DENIED');
  }
  expect((await weak.ask('uses-host', '/api/plugins/uses-host/')).status).toBeLessThan(500);
});
