// What a manifest, or a hostile program, says of itself, and what is taken of it. Contract: Dispatcharr's serializers.
import { describe, expect, test } from 'vitest';
import { actionsOf, fieldsOf, portrayed } from '../../src/core/portrayal.ts';

const field = (more: object) => ({ id: 'a', type: 'string', ...more });
const action = (more: object) => ({ id: 'a', label: 'A', ...more });
const deep = (depth: number): unknown => (depth === 0 ? 1 : [deep(depth - 1)]);

describe('a field is taken', () => {
  const taken: Record<string, [unknown, unknown]> = {
    'of each type': [field({ type: 'info' }), field({ type: 'info' })],
    'with a number for its id': [field({ id: 5 }), field({ id: '5' })],
    'without spaces around its words': [field({ id: ' a ', label: ' A\n' }), field({ label: 'A' })],
    'with words that are empty': [field({ help_text: '', value: '' }), field({ help_text: '', value: '' })],
    'with a default of any type': [
      field({ default: { b: [0, false, null] } }),
      field({ default: { b: [0, false, null] } }),
    ],
    'with numbers that are written as text': [
      field({ min: '-1e1', max: ' 1_000. ', step: true }),
      field({ min: -10, max: 1000, step: 1 }),
    ],
    'with options as text': [
      field({ options: [{ value: 1, label: 2, x: 3 }] }),
      field({ options: [{ value: '1', label: '2' }] }),
    ],
    'without keys that it does not have': [field({ section: 'x', __proto__: { label: 'x' } }), field({})],
    'without what no database takes': [
      field({ label: 'a\0b\ud800', default: { 'k\0': ['\udfff'] } }),
      field({ label: 'ab\ufffd', default: { k: ['\ufffd'] } }),
    ],
    'with words that are cut where they are endless': [
      field({ description: 'x'.repeat(100_000) }),
      field({ description: `${'x'.repeat(16 * 1024 - 1)}…` }),
    ],
  };
  test.each(Object.entries(taken))('%s', (_, [raw, read]) => {
    expect(fieldsOf([raw])).toEqual([read]);
  });
});

describe('a field is left out, and no other with it,', () => {
  const left: Record<string, unknown> = {
    'that is no object': 'a',
    'that is a list': [field({})],
    'that is null': null,
    'without an id': { type: 'string' },
    'with a blank id': field({ id: ' ' }),
    'with an id that is no text': field({ id: true }),
    'with an id that is endless': field({ id: 'x'.repeat(201) }),
    'without a type': { id: 'a' },
    'of another type': field({ type: 'table' }),
    'with null for a word': field({ label: null }),
    'with a list for a word': field({ input_type: [] }),
    'with null for its default': field({ default: null }),
    'with null for a bound': field({ min: null }),
    'with a bound that is no number': field({ max: 'many' }),
    'with a bound that JSON cannot say': field({ max: 'inf' }),
    'with options that are no list': field({ options: { a: 'b' } }),
    'with null for its options': field({ options: null }),
    'with an option that is text': field({ options: ['a'] }),
    'with an option without a label': field({ options: [{ value: 'a' }] }),
    'with an option of no value': field({ options: [{ value: '', label: 'None' }] }),
    'with too many options': field({ options: Array(1_001).fill({ value: 'a', label: 'a' }) }),
    'with a default that is too deep': field({ default: deep(33) }),
    'with a default that is too long': field({ default: { a: ['x'.repeat(128 * 1024)] } }),
    'with a bound that is endless': field({ max: '1'.padEnd(2_000, ' ') }),
    'with a default that is too large': field({ default: Array(10_000).fill(0) }),
  };
  test.each(Object.entries(left))('%s', (_, raw) => {
    expect(fieldsOf([field({ id: 'before' }), raw, field({ id: 'after' })]).map(({ id }) => id)).toEqual([
      'before',
      'after',
    ]);
  });
});

test('an action is taken with what it has, and left out where one of its values is none', () => {
  const whole = action({
    description: '',
    confirm: { required: true, title: 'Sure?' },
    button_label: 'Go',
    button_variant: 'filled',
    button_color: 'red',
    events: ['channel_start', 5],
  });
  expect(actionsOf([whole, action({ confirm: false, events: [], async: true })])).toEqual([
    { ...whole, events: ['channel_start', '5'] },
    action({ confirm: false, events: [] }),
  ]);
  const left = [
    { id: 'a' },
    action({ label: '' }),
    action({ label: null }),
    action({ confirm: null }),
    action({ events: 'channel_start' }),
    action({ events: null }),
    action({ events: [null] }),
    action({ events: [''] }),
    action({ button_color: {} }),
  ];
  for (const raw of left) expect([raw, actionsOf([raw])]).toEqual([raw, []]);
});

test('lists that are none are empty, and words that are none are not said', () => {
  expect(portrayed({ name: 5, version: null, fields: { a: 1 }, actions: 'run' })).toEqual({
    name: '',
    version: '',
    description: '',
    author: '',
    helpUrl: '',
    fields: [],
    actions: [],
  });
  expect(portrayed({ name: 'N\0', help_url: 'https://example.org', author: 'A' })).toMatchObject({
    name: 'N',
    helpUrl: 'https://example.org',
    author: 'A',
  });
});

test('all of it together has a bound, and what is before that stays', () => {
  const many = Array.from({ length: 600 }, (_, at) => field({ id: `f${at}` }));
  expect(fieldsOf(many)).toHaveLength(500);
  const large = Array.from({ length: 100 }, (_, at) => field({ id: `f${at}`, default: 'é'.repeat(8 * 1024) }));
  const kept = fieldsOf(large);
  expect(kept).toHaveLength(11);
  expect(Buffer.byteLength(JSON.stringify(kept))).toBeLessThan(192 * 1024);
  expect(actionsOf(large.map((one) => ({ ...one, label: 'A', confirm: 'é'.repeat(8 * 1024) })))).toHaveLength(3);
});

test('a default that is called __proto__ changes no object', () => {
  const [read] = fieldsOf(JSON.parse('[{"id":"a","type":"text","default":{"__proto__":{"x":1}}}]'));
  expect(JSON.stringify(read)).toBe('{"id":"a","type":"text","default":{"__proto__":{"x":1}}}');
});
