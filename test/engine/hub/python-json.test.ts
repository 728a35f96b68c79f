import { expect, test } from 'vitest';
import { pythonMembers } from '../../../src/engine/hub/python-json.ts';
import { pythonDumps } from '../../support/gpg.ts';

const VALUES = [
  '{ "b" : 1 , "a":\t[ ] ,\r\n"10":{},"2":[1,[2,{"x":null}]] }',
  String.raw`{"é":"\u00E9 ü \" \\ \/ \b\f\n\r\t \u0001 \u007f ~ 😀 \ud83d\ude00 \ud800 \u2028 \ufeff"}`,
  '[0,-0,1,-1,123456789012345678901234567890,9007199254740993,-12]',
  '[0.0,-0.0,1.0,1.5,-2.50,100.0,123456.789,0.1,0.30000000000000004,12345678901234567.0]',
  '[1e0,1E5,1e15,1e16,1.5e16,9999999999999999.0,1e21,1e22,1.7976931348623157e308,5e-324,1e400,-1e400]',
  '[0.0001,0.00001,0.00012345,1e-4,1e-5,1.25e-7,1e-10,1e-100,123e-2,1e+2]',
  '[true,false,null,"",{"":""}]',
  '{"__proto__":{"constructor":1},"a":{"__proto__":2}}',
];

// Goal: what is signed is what Python writes. Method: a real Python says what that is.
test('JSON is written as Python writes it', () => {
  const expected = pythonDumps(VALUES);
  expect(VALUES.map((one) => pythonMembers(`{"x":${one}}`).get('x'))).toEqual(expected);
});

test('numbers of all sizes are written as Python writes them', () => {
  const numbers = Array.from({ length: 2_000 }, (_, at) => {
    const digits = String((at * 2654435761) % 4294967296);
    return `${at % 2 === 0 ? '' : '-'}${digits}.${digits.split('').reverse().join('')}e${(at % 640) - 320}`;
  });
  const text = `[${numbers.join(',')}]`;
  expect(pythonMembers(`{"x":${text}}`).get('x')).toBe(pythonDumps([text])[0]);
});

test('what is no JSON, or could be read in two ways, has no such form', () => {
  const wrong = [
    '',
    '[]',
    '{',
    '{"a":1',
    '{"a":1,}',
    '{"a":01}',
    '{"a":NaN}',
    '{"a":1}x',
    "{'a':1}",
    '{"a":"\n"}',
    '{a:1}',
  ];
  for (const text of wrong) expect(() => pythonMembers(text), text).toThrow(SyntaxError);
  expect(() => pythonMembers('{"a":1,"a":1}')).toThrow('twice');
  expect(() => pythonMembers(`{"a":${'['.repeat(200)}${']'.repeat(200)}}`)).toThrow('deeper');
  expect(() => pythonMembers(`{"a":${'1'.repeat(5_000)}}`)).toThrow('digits');
  expect(pythonMembers(`{"a":"${'x'.repeat(1_000_000)}"}`).get('a')).toHaveLength(1_000_002);
});
