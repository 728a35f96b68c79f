import { afterAll, beforeAll, expect, test } from 'vitest';
import { Notary } from '../../../src/engine/hub/notary.ts';
import { pythonDumps, TestKey } from '../../support/gpg.ts';

const scope = new AsyncDisposableStack();
let notary: Notary;
let key: TestKey;
beforeAll(() => {
  notary = scope.use(new Notary());
  key = scope.use(new TestKey());
});
afterAll(() => scope.disposeAsync());

// As somebody may well write it: with space, letters beyond ASCII, and numbers that JavaScript would write differently.
const MANIFEST = '{ "registry_name": "Ünïcode 😀", "size": 1.0, "2": 1e16, "1": [], "plugins": [] }';

function signed(manifest: string, signature: string): string {
  return `{"signature": ${JSON.stringify(signature)}, "manifest": ${manifest}}`;
}

test('a manifest that gpg has signed is signed, by whichever kind of key', async () => {
  const message = `${pythonDumps([MANIFEST])[0]}\n`;
  using rsa = new TestKey('rsa3072');
  for (const one of [key, rsa]) {
    const text = signed(MANIFEST, one.sign(message));
    expect(await notary.verify({ text, publicKey: one.publicKey })).toBe(true);
    expect(await notary.verify({ text, publicKey: `\n${key.publicKey}\n${rsa.publicKey}` })).toBe(true);
  }
});

test('whatever else is not', async () => {
  const [canonical] = pythonDumps([MANIFEST]);
  const signature = key.sign(`${canonical}\n`);
  using other = new TestKey();
  const { publicKey } = key;
  const cases: Record<string, { text: string; publicKey: string }> = {
    'by somebody else': { text: signed(MANIFEST, other.sign(`${canonical}\n`)), publicKey },
    'with another key': { text: signed(MANIFEST, signature), publicKey: other.publicKey },
    changed: { text: signed(MANIFEST.replace('[]', '[1]'), signature), publicKey },
    reordered: { text: signed('{"plugins":[],"registry_name":"Ünïcode 😀"}', signature), publicKey },
    'without the line feed': { text: signed(MANIFEST, key.sign(String(canonical))), publicKey },
    'a key twice': { text: `{"manifest": {}, ${signed(MANIFEST, signature).slice(1)}`, publicKey },
    'something around it': { text: signed(MANIFEST, signature).replace('{', '{"plugins": [], '), publicKey },
    unsigned: { text: `{"manifest": ${MANIFEST}}`, publicKey },
    'no signature': { text: signed(MANIFEST, 'hello'), publicKey },
    'no key': { text: signed(MANIFEST, signature), publicKey: 'hello' },
    flat: { text: MANIFEST, publicKey },
    'no JSON': { text: 'hello', publicKey },
  };
  for (const [what, task] of Object.entries(cases)) expect([what, await notary.verify(task)]).toEqual([what, false]);
  // It goes on after all of these.
  expect(await notary.verify({ text: signed(MANIFEST, signature), publicKey })).toBe(true);
});
