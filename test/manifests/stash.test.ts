import assert from 'node:assert/strict';
import { describe, test } from 'vitest';
import type { Plugin, Refusal } from '../../src/core/plugin.ts';
import { load, stash } from '../../src/manifests/stash.ts';

function verdictOf(text: string | Uint8Array, fileName = 'demo.yml') {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  return load({ file: `stash/demo/${fileName}`, path: `/plugins/stash/demo/${fileName}`, bytes });
}

function accepted(text: string | Uint8Array, fileName?: string): Plugin {
  const verdict = verdictOf(text, fileName);
  assert(verdict.ok, verdict.ok ? '' : JSON.stringify(verdict.refusal));
  return verdict.plugin;
}

function refused(text: string | Uint8Array, fileName?: string): Refusal {
  const verdict = verdictOf(text, fileName);
  assert(!verdict.ok, 'it was accepted');
  return verdict.refusal;
}

/** Plain copies, so that records without a prototype compare like others. */
function plain<T>(value: T): T {
  return JSON.parse(JSON.stringify(value));
}

describe('a manifest with everything', () => {
  const everything = `
name: Demo
description: It demonstrates
url: https://example.com
version: "1.2"
exec: [python, "{pluginDir}/demo.py"]
interface: raw
errLog: info
settings: { limit: {displayName: Limit, type: NUMBER}, again: {type: BOOLEAN, description: Once more} }
tasks: [ {name: Run, description: do it, execArgs: ["--dir={pluginDir}"], defaultArgs: {mode: run}} ]
hooks: [ {name: H, triggeredBy: [Scene.Create.Post], execArgs: [x], defaultArgs: {mode: hook}} ]
ui:
  javascript: [a.js, "https://cdn.example/x.js"]
  css: [a.css]
  requires: [OtherId]
  assets: {/: ., /img: images}
  csp: {connect-src: ["https://api.example"], script-src: [a], style-src: [b, c]}
`;

  test('gives a plugin with all of it', () => {
    assert.deepEqual(plain(accepted(everything)), {
      id: 'demo',
      dialect: 'stash',
      name: 'Demo',
      description: 'It demonstrates',
      url: 'https://example.com',
      version: '1.2',
      dir: '/plugins/stash/demo',
      realDir: '/plugins/stash/demo',
      manifestFile: '/plugins/stash/demo/demo.yml',
      program: { runtime: 'process', exec: ['python', '{pluginDir}/demo.py'], speaks: 'raw' },
      entries: [
        {
          kind: 'task',
          name: 'Run',
          description: 'do it',
          execArgs: ['--dir={pluginDir}'],
          defaultArgs: { mode: 'run' },
        },
        {
          kind: 'hook',
          name: 'H',
          description: '',
          execArgs: ['x'],
          defaultArgs: { mode: 'hook' },
          triggeredBy: ['Scene.Create.Post'],
        },
        { kind: 'operation' },
      ],
      settings: [
        { key: 'again', type: 'BOOLEAN', displayName: '', description: 'Once more' },
        { key: 'limit', type: 'NUMBER', displayName: 'Limit', description: '' },
      ],
      ui: {
        requires: ['OtherId'],
        javascript: ['a.js', 'https://cdn.example/x.js'],
        css: ['a.css'],
        assets: { '/': '.', '/img': 'images' },
        csp: { 'script-src': ['a'], 'style-src': ['b', 'c'], 'connect-src': ['https://api.example'] },
      },
      errLog: 'info',
    });
  });
});

describe('scalars keep their source text', () => {
  const texts = ['1.0', '1.10', '007', 'yes', 'no', '2024-01-01', '1.50', '0x10', '0o17', '1e400', 'true', 'NaN', '-0'];
  for (const text of texts) {
    test(`version: ${text} is the text ${text}`, () => {
      assert.equal(accepted(`version: ${text}`).version, text);
    });
  }

  const lists: Record<string, string[]> = {
    'exec: [1.0, yes, 2024-01-01]': ['1.0', 'yes', '2024-01-01'],
    'exec: [null, ~, "null", ""]': ['', '', 'null', ''],
    'exec:\n- \n- a': ['', 'a'],
  };
  for (const [text, expected] of Object.entries(lists)) {
    test(`${JSON.stringify(text)} gives the texts ${JSON.stringify(expected)}`, () => {
      assert.deepEqual(accepted(`interface: rpc\n${text}`).program, {
        runtime: 'process',
        exec: expected,
        speaks: 'rpc',
      });
    });
  }

  test('a default argument keeps its text, and a null one is empty', () => {
    const { entries } = accepted('tasks: [{name: T, defaultArgs: {a: 1.50, b: ~, 3: on, c: "x"}}]');
    assert(entries[0]?.kind === 'task');
    assert.deepEqual(plain(entries[0].defaultArgs), { 3: 'on', a: '1.50', b: '', c: 'x' });
  });
});

describe('null', () => {
  for (const nothing of ['', ' null', ' ~', ' NULL']) {
    test(`"key:${nothing}" is as if the key were not there`, () => {
      const keys = ['description', 'url', 'version', 'interface', 'exec', 'errLog', 'tasks', 'hooks', 'ui', 'settings'];
      const plugin = accepted(['name', ...keys].map((key) => `${key}:${nothing}\n`).join(''));
      assert.deepEqual(plain(plugin), plain(accepted('{}')));
      assert.equal(plugin.description, null);
      assert.equal(plugin.name, '');
    });
  }

  test('in quotes it is text', () => {
    assert.equal(accepted('description: "null"').description, 'null');
    assert.equal(accepted("version: '~'").version, '~');
    assert.equal(accepted('url: ""').url, '');
  });
});

describe('the program', () => {
  const programs: Record<string, Plugin['program']> = {
    'interface: js\nexec: [a.js, b.js]': { runtime: 'isolate', file: 'a.js' },
    'interface: js': { runtime: 'isolate', file: null },
    'exec: [a]': { runtime: 'process', exec: ['a'], speaks: 'raw' },
    'exec: [a]\ninterface: ""': { runtime: 'process', exec: ['a'], speaks: 'raw' },
    'exec: [a]\ninterface: ~': { runtime: 'process', exec: ['a'], speaks: 'raw' },
    'exec: [a]\ninterface: rpc': { runtime: 'process', exec: ['a'], speaks: 'rpc' },
    'tasks: [{name: T}]': { runtime: 'process', exec: [], speaks: 'raw' },
    'ui: {css: [a.css]}': { runtime: 'none' },
    '{}': { runtime: 'none' },
  };
  for (const [text, program] of Object.entries(programs)) {
    test(`${JSON.stringify(text)} gives ${JSON.stringify(program)}`, () => {
      const plugin = accepted(text);
      assert.deepEqual(plugin.program, program);
      assert.equal(
        plugin.entries.some(({ kind }) => kind === 'operation'),
        program.runtime !== 'none',
      );
    });
  }
});

describe('what is not looked at is kept as written', () => {
  for (const level of ['warn', 'INFO', 'nonsense', 'none']) {
    test(`errLog: ${level}`, () => {
      assert.equal(accepted(`errLog: ${level}`).errLog, level);
    });
  }

  test('triggeredBy takes any names, as often as they are there', () => {
    const [hook] = accepted('hooks: [{triggeredBy: [Bogus, Scene.Create.Post, Bogus]}]').entries;
    assert(hook?.kind === 'hook');
    assert.deepEqual(hook.triggeredBy, ['Bogus', 'Scene.Create.Post', 'Bogus']);
  });
});

test('settings are sorted by their keys, of type STRING unless they say so, and may have no body', () => {
  const { settings } = accepted('settings:\n  b: {type: ""}\n  a:\n  C: {type: NUMBER}\n  ab: {displayName: 1.0}');
  assert.deepEqual(settings, [
    { key: 'C', type: 'NUMBER', displayName: '', description: '' },
    { key: 'a', type: 'STRING', displayName: '', description: '' },
    { key: 'ab', type: 'STRING', displayName: '1.0', description: '' },
    { key: 'b', type: 'STRING', displayName: '', description: '' },
  ]);
});

describe('files that are read', () => {
  const files: Record<string, string | Uint8Array> = {
    'with a byte order mark': '\ufeffname: Demo\n',
    'in UTF-16 with a byte order mark': Buffer.from('\ufeffname: Demo\n', 'utf16le'),
    'with CRLF': 'name: Demo\r\nversion: 1\r\n',
    'with CR alone': 'name: Demo\rversion: 1\r',
    'with more documents, even broken ones': 'name: Demo\n---\n\t: [\n',
    'with a bomb for a second document, which is not parsed': `name: Demo\n---\n${'['.repeat(1_000)}`,
    'with an explicit end and then anything': 'name: Demo\n...\nfoo: [',
    'with directives': '%YAML 1.1\n---\nname: Demo\n',
    'with a tab after the colon': 'name:\tDemo\n',
    'with a comment right behind a quote': 'name: "Demo"# comment\n',
    'with a closing bracket that is not indented': 'name: Demo\nexec: [\n  a\n]\n',
    'in JSON': '{"name":"Demo","exec":["a"]}',
    'with a tag that nobody knows, which is ignored': 'name: !!js/function Demo\n',
    'with a string in base64': 'name: !!binary RGVtbw==\n',
  };
  for (const [what, text] of Object.entries(files)) {
    test(what, () => assert.equal(accepted(text).name, 'Demo'));
  }

  test('with text that looks like the end of a document', () => {
    assert.equal(accepted('name: ---\ndescription: ...\nversion: 2').version, '2');
  });

  test('an empty document that is there (---) is an empty manifest', () => {
    assert.equal(accepted('---\n').name, '');
  });
});

describe('anchors and merges', () => {
  function args(text: string): unknown[] {
    return accepted(text).entries.flatMap((entry) =>
      'defaultArgs' in entry ? [[entry.name, entry.description, { ...entry.defaultArgs }]] : [],
    );
  }

  const merges: Record<string, { text: string; expect: unknown[] }> = {
    'an alias is what its anchor is': {
      text: 'tasks: [{name: &n A, description: *n}]',
      expect: [['A', 'A', {}]],
    },
    'an alias means the last anchor above it': {
      text: 'tasks: [{name: &n A}, {name: &n B}, {name: *n}]',
      expect: [
        ['A', '', {}],
        ['B', '', {}],
        ['B', '', {}],
      ],
    },
    'what follows a merge wins over it': {
      text: 'tasks: [&a {name: A, description: a}, {<<: *a, name: B}]',
      expect: [
        ['A', 'a', {}],
        ['B', 'a', {}],
      ],
    },
    'a merge wins over what stands before it': {
      text: 'tasks: [&a {name: A, description: a}, {name: B, <<: *a}]',
      expect: [
        ['A', 'a', {}],
        ['A', 'a', {}],
      ],
    },
    'in a list of merges the earlier one wins': {
      text: 'tasks: [&a {name: A}, &b {name: B, description: b}, {<<: [*a, *b]}]',
      expect: [
        ['A', '', {}],
        ['B', 'b', {}],
        ['A', 'b', {}],
      ],
    },
    'maps with free keys are merged too': {
      text: 'tasks: [{name: A, defaultArgs: &d {x: 1}}, {name: B, defaultArgs: {<<: *d, y: 2}}]',
      expect: [
        ['A', '', { x: '1' }],
        ['B', '', { x: '1', y: '2' }],
      ],
    },
  };
  for (const [what, { text, expect }] of Object.entries(merges)) {
    test(what, () => assert.deepEqual(args(text), expect));
  }

  test('the manifest itself may be merged', () => {
    assert.equal(accepted('<<: {name: Demo}').name, 'Demo');
  });
});

describe('a manifest is refused', () => {
  /** text → where, and a part of why. */
  const refusals: Record<string, [text: string, at: string, reason: RegExp]> = {
    'for an unknown key': ['name: x\nfoo: 1', '2:1', /unknown key "foo" in the manifest; allowed are name, desc/],
    'for a key in the wrong case': ['Name: x', '1:1', /unknown key "Name".*did you mean "name"\? Case matters/],
    'for a holder of anchors': ['x: &a [1]\nexec: *a', '1:1', /unknown key "x"/],
    'for an unknown key of a task': ['tasks:\n  - name: x\n    args: {}', '3:5', /unknown key "args" in tasks\[0\]/],
    'for triggeredBy in a task': ['tasks: [{triggeredBy: [a]}]', '1:10', /unknown key "triggeredBy" in tasks\[0\]/],
    'for an unknown key of a hook': ['hooks: [{}, {x: 1}]', '1:14', /unknown key "x" in hooks\[1\].*triggeredBy/],
    'for an unknown key of ui': ['ui: {js: [a]}', '1:6', /unknown key "js" in ui/],
    'for an unknown key of ui.csp': ['ui: {csp: {img-src: [a]}}', '1:12', /unknown key "img-src" in ui.csp/],
    'for an unknown key of a setting': ['settings: {a: {default: 1}}', '1:16', /unknown key "default" in settings.a/],
    'for a key that objects inherit': ['constructor: x', '1:1', /unknown key "constructor"/],
    'for __proto__': ['__proto__: {name: x}', '1:1', /unknown key "__proto__"/],
    'for a quoted <<': ['"<<": {name: x}', '1:1', /unknown key "<<"/],
    'for a key given twice': ['name: a\nversion: 1\nname: b', '3:1', /key "name" is given twice in the manifest/],
    'for an argument given twice': ['tasks: [{defaultArgs: {a: 1, "a": 2}}]', '1:30', /key "a" is given twice/],
    'for a setting given twice': ['settings:\n  a:\n  a:', '3:3', /key "a" is given twice in settings/],
    'for an argument both merged and written': [
      'tasks: [{defaultArgs: &d {x: 1}}, {defaultArgs: {<<: *d, x: 2}}]',
      '1:58',
      /key "x" is given twice/,
    ],
    'for exec that is no list': ['exec: python x.py', '1:7', /exec must be a list, not a single value/],
    'for a list where text belongs': ['name: [a]', '1:7', /name must be text, not a list/],
    'for a mapping where text belongs': ['version: {a: 1}', '1:10', /version must be text, not a mapping/],
    'for a list in exec': ['exec: [a, [b]]', '1:11', /exec\[1\] must be text, not a list/],
    'for {pluginDir} without quotes': ['exec:\n  - {pluginDir}/foo.py', '2:16', /not valid YAML/],
    'for tasks that are a mapping': ['tasks: {name: x}', '1:8', /tasks must be a list, not a mapping/],
    'for a task that is text': ['tasks: [x]', '1:9', /tasks\[0\] must be a mapping/],
    'for an empty task': ['tasks:\n  -\n', '2:4', /tasks\[0\] is empty/],
    'for a default argument that is a list': [
      'tasks: [{defaultArgs: {a: [1]}}]',
      '1:27',
      /tasks\[0\].defaultArgs.a must be text, not a list/,
    ],
    'for settings that are a list': ['settings: [a]', '1:11', /settings must be a mapping/],
    'for an unknown interface': ['interface: JS', '1:12', /interface must be raw, rpc or js, not "JS"/],
    'for an unknown type of setting': [
      'settings: {a: {type: string}}',
      '1:22',
      /settings.a.type must be STRING, NUMBER or BOOLEAN, not "string"/,
    ],
    'for being empty': ['', '1:1', /^EOF: the file is empty/],
    'for having comments only': ['# nothing\n\n', '1:1', /^EOF/],
    'for being a list': ['- name: x', '1:1', /the manifest must be a mapping of keys to values, not a list/],
    'for being text': ['hello', '1:1', /the manifest must be a mapping of keys to values, not a single value/],
    'for a tab that indents': ['tasks:\n- name: a\n\tdescription: b', '3:1', /tab may not indent/],
    'for a quote that is not closed': ['name: "x', '1:9', /a quote, bracket or colon is missing/],
    'for a missing colon': ['name: x\nversion\n', '2:1', /a quote, bracket or colon is missing|expected "key: value"/],
    'for an alias without an anchor': ['name: *x', '1:7', /alias "\*x" has no anchor above it/],
    'for an alias above its anchor': ['name: *x\nversion: &x 1', '1:7', /has no anchor above it/],
    'for an anchor in itself': ['tasks: [&a {<<: *a}]', '1:17', /anchor "a" contains itself/],
    'for merging text': ['tasks: [{<<: x}]', '1:14', /"<<" takes a mapping/],
    'for merging a list of text': ['tasks: [{<<: [x]}]', '1:15', /"<<" takes a mapping/],
    'for text that is not what its tag says': ['version: !!int x', '1:16', /tagged "!!int" and is not one/],
    'for an unknown directive': ['%FOO\n---\nname: x', '1:1', /only the directives %YAML and %TAG/],
    'for a control character': ['name: x\nversion: a\u0007', '2:11', /control character U\+0007/],
    'for NUL in the name of a task': [
      'tasks:\n- description: x\n  name: "a\\0"',
      '3:9',
      /tasks\[0\].name may not contain the control character U\+0000/,
    ],
    'for a line feed in the name of a hook': ['hooks: [{name: "a\\nb"}]', '1:16', /hooks\[0\].name .* U\+000A/],
    'for a control character in the key of a setting': [
      'settings:\n  "a\\x7f": {}',
      '2:3',
      /a key of settings .* U\+007F/,
    ],
    'for one that is merged into a name': ['tasks: [{<<: {name: "\\e"}}]', '1:21', /tasks\[0\].name .* U\+001B/],
    'for one in base64': ['tasks: [{name: !!binary AA==}]', '1:25', /tasks\[0\].name .* U\+0000/],
  };
  for (const [why, [text, at, reason]] of Object.entries(refusals)) {
    test(why, () => {
      const refusal = refused(text);
      assert.match(refusal.reason, reason);
      assert.equal(`${refusal.line}:${refusal.column}`, at);
      assert.equal(refusal.file, 'stash/demo/demo.yml');
    });
  }

  test('for bytes that are not UTF-8, with the line', () => {
    const refusal = refused(Buffer.from([...Buffer.from('name: x\nurl: '), 0xff, 0xc3, 0x28]));
    assert.equal(refusal.line, 2);
    assert.match(refusal.reason, /not valid UTF-8/);
  });

  test("with no more than a little of the stranger's words", () => {
    const { reason } = refused(`${'x\\u001b'.repeat(200)}: 1`.replace('x', '"x').replace(': 1', '": 1'));
    assert(reason.length < 500, reason);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is the point
    assert.doesNotMatch(reason, /[\u0000-\u001f]/);
  });
});

test('descriptions and arguments may have tabs and line feeds', () => {
  const { entries, description } = accepted(
    'description: "a\\tb\\n"\ntasks: [{description: "a\\n\\tb", defaultArgs: {a: "1\\n"}}]',
  );
  assert.equal(description, 'a\tb\n');
  const [task] = entries;
  assert(task?.kind === 'task');
  assert.equal(task.description, 'a\n\tb');
  assert.equal(task.defaultArgs.a, '1\n');
});

describe('the key __proto__', () => {
  const text =
    'tasks: [{name: T, defaultArgs: {__proto__: bad, a: b}}]\nui: {assets: {__proto__: x}}\nsettings: {__proto__: }';

  test('is a key like any other where keys are free', () => {
    const plugin = accepted(text);
    const [task] = plugin.entries;
    assert(task?.kind === 'task');
    assert.deepEqual(Object.entries(task.defaultArgs), [
      ['__proto__', 'bad'],
      ['a', 'b'],
    ]);
    assert.deepEqual(Object.keys(plugin.ui?.assets ?? {}), ['__proto__']);
    assert.equal(plugin.settings[0]?.key, '__proto__');
    assert.equal(Object.hasOwn(structuredClone(task.defaultArgs), '__proto__'), true);
  });
});

describe('the id of a plugin', () => {
  const ids: Record<string, string> = {
    'foo.bar.yml': 'foo.bar',
    'a b.yml': 'a b',
    'Grüße.yml': 'Grüße',
    '.a.yml': '.a',
  };
  for (const [fileName, id] of Object.entries(ids)) {
    test(`of ${fileName} is ${id}`, () => assert.equal(accepted('{}', fileName).id, id));
  }

  const none: Record<string, string> = {
    'nothing at all': '.yml',
    'one dot': '..yml',
    'two dots': '...yml',
    'a line break': 'a\nb.yml',
    'a line separator': 'a\u2028b.yml',
    'a right-to-left override': 'a\u202eb.yml',
    'more than 200 bytes': `${'é'.repeat(101)}.yml`,
  };
  for (const [what, fileName] of Object.entries(none)) {
    test(`may not be ${what}`, () => assert.match(refused('{}', fileName).reason, /id/));
  }

  test('comes from files that end in .yml exactly', () => {
    const names = ['a.yml', '.yml', 'a.yaml', 'a.YML', 'yml', 'a.yml.bak'];
    assert.deepEqual(names.filter(stash.isManifest), ['a.yml', '.yml']);
  });
});
