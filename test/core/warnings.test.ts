import { expect, test } from 'vitest';
import { actionsOf, fieldsOf } from '../../src/core/portrayal.ts';
import { Warnings } from '../../src/core/warnings.ts';

test('what is left out is told with the value that is to blame, also inside of it', () => {
  const warnings = new Warnings();
  const warn = (sentence: string) => warnings.add(sentence);
  const field = { id: 'a', type: 'string' };
  fieldsOf(
    [
      { ...field, options: [{ value: 1, label: 'x' }, { value: 2 }] },
      { ...field, default: null },
    ],
    warn,
  );
  actionsOf({ id: 'a', label: 'A' }, warn);
  actionsOf(
    [
      { id: 'a', label: ' ' },
      { id: 'b', label: 'B', events: ['x', null] },
    ],
    warn,
  );
  actionsOf(Array(201).fill({ id: 'a', label: 'A' }), warn);
  actionsOf(undefined, warn);
  expect(warnings.all).toEqual([
    'fields[0] ("a") is left out: its options[1].label is missing',
    'fields[1] ("a") is left out: its default is null',
    'actions is left out: it is no list',
    'actions[0] ("a") is left out: its label is empty',
    'actions[1] ("b") is left out: its events[1] is no text',
    'actions is left out from [200] on: it may have 200 entries',
  ]);
});

test('there are few of them, of one short line each', () => {
  const warnings = new Warnings();
  for (const at of Array(25).keys()) warnings.add(`${at}\n\u001b[31m${'x'.repeat(400)}`);
  expect(warnings.all).toHaveLength(21);
  expect(warnings.all[0]).toBe(`0 [31m${'x'.repeat(293)}…`);
  expect(warnings.all.at(-1)).toBe('and 5 more');
});
