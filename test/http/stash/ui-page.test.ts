// Goal: a page is told what to load, in which order and under which policy, and no plugin can say more than what it needs.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { UserInterface } from '../../../src/core/plugin.ts';
import { baseOf } from '../../../src/http/stash/ui/base.ts';
import { policyOf } from '../../../src/http/stash/ui/csp.ts';
import { loadOrder } from '../../../src/http/stash/ui/load-order.ts';
import { pathsOf } from '../../../src/http/stash/ui/paths.ts';
import { type FakeService, plugin, startFakeService } from '../../support/fake.ts';

function parts(more: Partial<UserInterface>): UserInterface {
  const csp = { 'script-src': [], 'style-src': [], 'connect-src': [], ...more.csp };
  return { requires: [], javascript: [], css: [], assets: {}, ...more, csp };
}

const showing = (id: string, more: Partial<UserInterface> = {}) => ({ id, ui: parts(more) });
const asking = (directive: string, ...entries: string[]) =>
  showing('p', { csp: { [directive]: entries } as unknown as UserInterface['csp'] });

const NOTHING = policyOf([]);

describe('the policy', () => {
  test('is that of Stash where no plugin needs more', () => {
    expect(NOTHING).toEqual({
      policy:
        "default-src data: 'self' 'unsafe-inline'; connect-src data: 'self' ws: wss:; img-src data: *; " +
        "media-src blob: 'self'; script-src 'self' www.gstatic.com 'unsafe-inline' 'unsafe-eval'; " +
        "style-src 'self' 'unsafe-inline'; worker-src blob:; child-src 'none'; object-src 'none'; form-action 'self'",
      directives: expect.objectContaining({ 'object-src': ["'none'"] }),
      refused: [],
    });
    expect(policyOf([{ id: 'p', ui: null }, showing('q')])).toEqual(NOTHING);
  });

  test('has what plugins ask for, once, in the order in which they do', () => {
    const { directives, refused } = policyOf([
      showing('a', {
        javascript: ['a.js', 'https://cdn.example/x.js?v=1#y'],
        css: ['http://cdn.example/a;b,c.css'],
        csp: {
          'script-src': ['HTTPS://CDN.example/x.js'],
          'style-src': [],
          'connect-src': ['wss://live.example:8443/a'],
        },
      }),
      showing('b', { csp: { 'script-src': ["'self'", 'https://*.b.example'], 'style-src': [], 'connect-src': [] } }),
    ]);
    expect(refused).toEqual([]);
    expect(directives['script-src']?.slice(4)).toEqual(['https://cdn.example/x.js', 'https://*.b.example']);
    expect(directives['style-src']?.slice(2)).toEqual(['http://cdn.example/a%3Bb%2Cc.css']);
    expect(directives['connect-src']?.slice(4)).toEqual(['wss://live.example:8443/a']);
  });

  test.each([
    ['script-src', 'cdn.example.org'],
    ['script-src', 'https://cdn.example.org:8443/a/b.js'],
    ['script-src', 'http://localhost:9998'],
    ['script-src', 'blob:'],
    ['script-src', "'unsafe-eval'"],
    ['style-src', 'data:'],
    ['connect-src', 'http://127.0.0.1:5000/'],
    ['connect-src', 'wss://*.example.org'],
    ['connect-src', 'wss:'],
  ])('takes for %s: %s', (directive, entry) => {
    expect(policyOf([asking(directive, entry)]).refused).toEqual([]);
  });

  test.each([
    ['script-src', '*'],
    ['script-src', '*:*'],
    ['script-src', 'https://*'],
    ['script-src', 'https://*.org'],
    ['script-src', 'https://a.*.org'],
    ['script-src', 'https:'],
    ['script-src', 'https://'],
    ['script-src', 'data:'],
    ['script-src', 'data:text/javascript,alert(1)'],
    ['script-src', 'javascript:'],
    ['script-src', 'javascript:alert(1)'],
    ['script-src', 'filesystem:'],
    ['script-src', 'file:///etc'],
    ['script-src', 'ws://example.org'],
    ['script-src', "'none'"],
    ['script-src', "'strict-dynamic'"],
    ['script-src', "'unsafe-hashes'"],
    ['script-src', "'wasm-unsafe-eval'"],
    ['script-src', "'nonce-abc'"],
    ['script-src', "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"],
    ['style-src', "'unsafe-eval'"],
    ['connect-src', "'unsafe-inline'"],
    ['connect-src', 'https:'],
    ['connect-src', '*'],
    ['script-src', 'https://example.org; script-src *'],
    ['script-src', 'https://example.org;script-src'],
    ['script-src', 'https://example.org/;report-uri'],
    ['script-src', 'https://example.org, default-src'],
    ['script-src', 'https://example.org,https://evil.example'],
    ['script-src', 'https://example.org https://evil.example'],
    ['script-src', 'https://example.org\thttps://evil.example'],
    ['script-src', 'https://example.org\r\nSet-Cookie: a=b'],
    ['script-src', 'https://example.org\u0000'],
    ['script-src', 'https://example.org\u2028'],
    ['script-src', 'https://exämple.org'],
    ['script-src', '"https://example.org"'],
    ['script-src', 'https://user:secret@example.org'],
    ['script-src', 'https://example.org?x'],
    ['script-src', 'https://example.org/x?y'],
    ['script-src', 'https://example.org/%zz'],
    ['script-src', 'https://example.org:99999'],
    ['script-src', 'https://example.org:0'],
    ['script-src', 'https://example.org:*'],
    ['script-src', 'https://-example.org'],
    ['script-src', 'https://example..org'],
    ['script-src', 'https://[::1]'],
    ['script-src', '//example.org'],
    ['script-src', '/path'],
    ['script-src', ''],
    ['script-src', ' '],
    ['script-src', `https://example.org/${'x'.repeat(500)}`],
  ])('refuses for %s: %j', (directive, entry) => {
    const { policy, refused } = policyOf([asking(directive, entry)]);
    expect(policy).toBe(NOTHING.policy);
    expect(refused).toEqual([{ plugin: 'p', directive, source: expect.any(String), why: expect.any(String) }]);
  });

  test.each([
    'https://user:secret@cdn.example/x.js',
    'https://',
    'http://[::1]/x.js',
    'https://cdn example/x.js',
    'https://*/x.js',
  ])('refuses a script at %s', (url) => {
    const { policy, refused } = policyOf([showing('p', { javascript: [url] })]);
    expect([policy, refused.length]).toEqual([NOTHING.policy, 1]);
  });

  test('never has more directives than it begins with, whatever the URL of a script', () => {
    for (let code = 0; code < 256; code++) {
      const url = `https://cdn.example/a${String.fromCharCode(code)}b${encodeURIComponent(String.fromCharCode(code))}.js`;
      const { policy, directives } = policyOf([showing('p', { javascript: [url], css: [url] })]);
      expect(policy.split(/[;,]/).length).toBe(Object.keys(NOTHING.directives).length);
      expect(policy).toMatch(/^[\x20-\x7e]+$/);
      for (const sources of Object.values(directives)) for (const one of sources) expect(one).not.toMatch(/[\s;,]/);
    }
  });

  test('has room for every plugin, however much one asks for', () => {
    const many = Array.from({ length: 300 }, (_, at) => `https://host-${at}.example.org`);
    const { policy, refused, directives } = policyOf([
      asking('connect-src', ...many),
      { ...asking('connect-src', 'https://other.example.org'), id: 'q' },
    ]);
    expect(directives['connect-src']).toContain('https://other.example.org');
    expect(policy.length).toBeLessThan(3_000);
    expect(refused.length).toBeLessThan(102);
    expect(refused.at(-1)?.why).toBe('this and the 199 after it are beyond the first 100');
    const all = policyOf(
      Array.from({ length: 100 }, (_, at) => asking('connect-src', ...many.map((m) => `${m}/${at}`))),
    );
    expect(all.policy.length).toBeLessThan(13_000);
  });
});

describe('the load order', () => {
  const ordered = (requires: Record<string, string[]>) => {
    const { order, circles } = loadOrder(Object.entries(requires).map(([id, ids]) => showing(id, { requires: ids })));
    return [order.map(({ id }) => id).join(' '), circles.map((ids) => ids.join(' '))];
  };

  test.each([
    [{ a: [], b: [], c: [] }, 'a b c', []],
    [{ a: ['c'], b: [], c: [] }, 'c a b', []],
    [{ a: ['b'], b: ['c'], c: [] }, 'c b a', []],
    [{ a: ['b', 'c'], b: ['d'], c: ['d'], d: [] }, 'd b c a', []],
    [{ a: ['missing', 'b', 'A'], b: [] }, 'b a', []],
    [{ a: ['a'] }, 'a', ['a']],
    [{ a: ['b'], b: ['a'] }, 'b a', ['a b']],
    [{ z: ['b'], a: ['b'], b: ['c'], c: ['a', 'd'], d: [] }, 'a d c b z', ['b c a']],
    [{ a: ['b', 'b'], b: ['a', 'a'] }, 'b a', ['a b']],
  ] as [Record<string, string[]>, string, string[]][])('%j is loaded as %s', (requires, order, circles) => {
    expect(ordered(requires)).toEqual([order, circles]);
  });

  test('a chain of any length, and a knot of any size, come to an end', () => {
    const ids = Array.from({ length: 20_000 }, (_, at) => `p${at}`);
    const chain = loadOrder(ids.map((id, at) => showing(id, { requires: [`p${at + 1}`] })));
    expect(chain.order.map(({ id }) => id)).toEqual(ids.toReversed());
    const knot = ids.slice(0, 300);
    const { order, circles } = loadOrder(knot.map((id) => showing(id, { requires: knot })));
    expect([order.length, circles.length]).toEqual([300, 20]);
  });
});

describe('paths', () => {
  test('are those of other servers first, then the one of all the rest', () => {
    const ui = {
      javascript: ['a.js', 'https://b.example/b.js', 'http://c.example/c.js'],
      css: ['https://d.example/d.css'],
    };
    expect(pathsOf(showing('my plugin', ui), 'https://h')).toEqual({
      javascript: ['https://b.example/b.js', 'http://c.example/c.js', 'https://h/plugin/my%20plugin/javascript'],
      css: ['https://d.example/d.css', 'https://h/plugin/my%20plugin/css'],
    });
    expect(pathsOf(showing('p'), '')).toEqual({ javascript: null, css: null });
    expect(pathsOf({ id: 'p', ui: null }, '')).toEqual({ javascript: null, css: null });
    expect(pathsOf(showing('p', { css: ['https://a:b@c.example/', 'https://'] }), '').css).toEqual(['/plugin/p/css']);
  });

  test.each([
    [{ host: 'h.example:81' }, '/x', 'http://h.example:81'],
    [{ host: '[::1]:4763' }, '/x', 'http://[::1]:4763'],
    [{ host: 'h', 'x-forwarded-proto': 'https', 'x-forwarded-prefix': '/a/b-c/' }, '/x', 'https://h/a/b-c'],
    [{ host: 'h', 'x-forwarded-prefix': '/a' }, '/t/acme/x', 'http://h/a/t/acme'],
    [{ host: 'h', 'x-forwarded-prefix': '/' }, '/x', 'http://h'],
    [{ host: 'h', 'x-forwarded-proto': 'javascript' }, '/x', 'http://h'],
    ...['//evil.example', '/a/../b', '/..', '/a b', '/a"b', '/a\\b', 'a', '/a?b', '/a#b', '/%2e', '/a//b'].map(
      (prefix) => [{ host: 'h', 'x-forwarded-prefix': prefix }, '/x', 'http://h'] as const,
    ),
    ...['', 'a/b', 'a@b', 'a b', 'a"', "a'><script>", 'a\\b', 'h:x', '-h', 'h\u0000'].map(
      (host) => [{ host }, '/x', ''] as const,
    ),
  ] as [Record<string, string>, string, string][])('%j at %s begin with %s', (headers, originalUrl, base) => {
    expect(baseOf({ headers, originalUrl, protocol: 'http' })).toBe(base);
  });
});

describe('over HTTP', () => {
  let service: FakeService;
  beforeAll(async () => {
    const off = plugin({ id: 'off', ui: parts({ csp: asking('script-src', 'https://off.example').ui.csp }) });
    const first = plugin({
      id: 'first',
      name: 'First',
      ui: parts({
        requires: ['second', 'nobody'],
        javascript: ['a.js'],
        assets: { '/': '.' },
        csp: asking('script-src', 'https://a.example', '*').ui.csp,
      }),
    });
    service = await startFakeService({
      plugins: [
        first,
        plugin(),
        off,
        plugin({ id: 'second', version: null, ui: parts({ css: ['https://b.example/b.css'] }) }),
      ],
      tenants: { acme: [plugin({ id: 'theirs', ui: parts({ javascript: ['https://theirs.example/x.js'] }) })] },
      config: { tokens: ['operator-token'] },
    });
    await ask('POST', '/v1/plugins/off/disable');
    await ask('POST', '/v1/tenants', { id: 'acme' });
  });
  afterAll(() => service[Symbol.asyncDispose]());
  const ask = (method: string, path: string, body?: unknown, headers = {}) =>
    service.ask(method, path, { token: 'operator-token', body, headers });

  test('a page is told which plugins to load, and in which order', async () => {
    const { status, body } = await ask('GET', '/v1/ui', undefined, { 'x-forwarded-prefix': '/isopod' });
    const base = `${service.url}/isopod/plugin`;
    expect([status, body]).toEqual([
      200,
      {
        plugins: [
          {
            id: 'second',
            name: 'Demo',
            version: null,
            requires: [],
            paths: { javascript: null, css: ['https://b.example/b.css', `${base}/second/css`] },
            assets: null,
            refused: [],
          },
          {
            id: 'first',
            name: 'First',
            version: '1.0',
            requires: ['second', 'nobody'],
            paths: { javascript: [`${base}/first/javascript`], css: null },
            assets: `${base}/first/assets`,
            refused: [{ directive: 'script-src', source: '*', why: expect.any(String) }],
          },
        ],
        circles: [],
      },
    ]);
  });

  test('the policy has what the enabled plugins of the tenant need, and nothing of others', async () => {
    const { policy, refused } = (await ask('GET', '/v1/csp')).body;
    expect(policy).toMatch(/script-src [^;]* https:\/\/a\.example;/);
    expect(policy).toMatch(/style-src [^;]* https:\/\/b\.example\/b\.css;/);
    expect(policy).not.toMatch(/off|theirs/);
    expect(refused).toEqual([{ plugin: 'first', directive: 'script-src', source: '*', why: expect.any(String) }]);
    const theirs = (await ask('GET', '/t/acme/v1/csp')).body;
    expect(theirs.directives['script-src']).toContain('https://theirs.example/x.js');
    expect(theirs.policy).not.toMatch(/a\.example/);
    const { plugins } = (await ask('GET', '/t/acme/v1/ui')).body;
    expect(plugins[0].paths.javascript[1]).toBe(`${service.url}/t/acme/plugin/theirs/javascript`);
    for (const path of ['/v1/csp', '/v1/ui']) expect((await service.get(path)).status).toBe(401);
  });
});
