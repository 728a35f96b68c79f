import { expect, test } from 'vitest';
import { archiveName } from '../../src/http/archive-name.ts';

test('a name is what it says without its folder, or nothing', () => {
  const names: [string | undefined, string | undefined][] = [
    ['attachment; filename="My Plugin.v1.zip"', 'My Plugin.v1.zip'],
    ['attachment; filename=plain.zip', 'plain.zip'],
    ['form-data; name="file"; FileName = "a \\"b\\".zip"', 'a "b".zip'],
    ['attachment; filename="fallback.zip"; filename*=UTF-8\'en\'z%C3%A4h.zip', 'zäh.zip'],
    ["attachment; filename*=UTF-8''%ff; filename=other.zip", 'other.zip'],
    ['attachment; filename="../../etc/x.zip"', 'x.zip'],
    ['attachment; filename="C:\\\\\\\\temp\\\\\\\\x.zip"', 'x.zip'],
    ['attachment; filename=""', undefined],
    ['attachment; filename="unfinished', undefined],
    ['attachment', undefined],
    [undefined, undefined],
    [`attachment; filename="${'x'.repeat(1_000)}"`, undefined],
  ];
  for (const [header, name] of names) expect([header, archiveName(header)]).toEqual([header, name]);
});
