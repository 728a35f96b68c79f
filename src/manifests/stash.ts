/**
 * Stash's manifests: `<id>.yml`. Every verdict is the one that Stash gives (its `pkg/plugin/config.go`, decoded
 * by yaml.v2 in strict mode), with a reason and a place that a person can act on; but for names with control characters,
 * which Stash takes.
 */
import { basename, dirname } from 'node:path';
import type { Entry, Plugin, Program, Setting, UserInterface, Verdict } from '../core/plugin.ts';
import { asksOf } from './asks.ts';
import { Decoder, type Value } from './decoder.ts';
import type { ManifestDialect, ManifestSource } from './dialect.ts';
import { idOf } from './id.ts';
import { quoted, Refused } from './refused.ts';
import { textOf } from './text.ts';
import { YamlDocument } from './yaml.ts';

export const stash: ManifestDialect = {
  name: 'stash',
  folder: 'stash',
  expected: 'a Stash manifest, <id>.yml',
  isManifest: (fileName) => fileName.endsWith('.yml'),
  module: import.meta.url,
  load,
};

export function load(source: ManifestSource): Verdict {
  try {
    const id = idOf(basename(source.path));
    const manifest = read(YamlDocument.parse(textOf(source.bytes)));
    return { ok: true, plugin: pluginOf(id, source, manifest) };
  } catch (error) {
    if (error instanceof Refused) return { ok: false, refusal: error.toRefusal(source.file) };
    throw error;
  }
}

type Task = Omit<Extract<Entry, { kind: 'task' }>, 'kind'>;
type Hook = Omit<Extract<Entry, { kind: 'hook' }>, 'kind'>;

type Manifest = {
  name: string;
  description: string | null;
  url: string | null;
  version: string | null;
  interface: 'raw' | 'rpc' | 'js';
  exec: string[];
  errLog: string | null;
  tasks: Task[];
  hooks: Hook[];
  ui: UserInterface | null;
  settings: Setting[];
};

function read(document: YamlDocument): Manifest {
  const yaml = new Decoder(document);
  const settings = new Map<string, Omit<Setting, 'key'>>();
  const manifest: Manifest = {
    name: '',
    description: null,
    url: null,
    version: null,
    interface: 'raw',
    exec: [],
    errLog: null,
    tasks: [],
    hooks: [],
    ui: null,
    settings: [],
  };

  yaml.fields(document.root, 'the manifest', {
    name: (value) => (manifest.name = yaml.text(value, 'name')),
    description: (value) => (manifest.description = yaml.optionalText(value, 'description')),
    url: (value) => (manifest.url = yaml.optionalText(value, 'url')),
    version: (value) => (manifest.version = yaml.optionalText(value, 'version')),
    interface: (value) => (manifest.interface = interfaceOf(yaml, value)),
    exec: (value) => (manifest.exec = yaml.texts(value, 'exec')),
    errLog: (value) => (manifest.errLog = yaml.optionalText(value, 'errLog')),
    tasks: (value) => (manifest.tasks = yaml.list(value, 'tasks', (item, label) => taskOf(yaml, item, label))),
    hooks: (value) => (manifest.hooks = yaml.list(value, 'hooks', (item, label) => hookOf(yaml, item, label))),
    ui: (value) => (manifest.ui = userInterfaceOf(yaml, value)),
    settings: (value) => yaml.map(value, 'settings', settings, (item, label) => settingOf(yaml, item, label), 'name'),
  });

  manifest.settings = [...settings].map(([key, setting]) => ({ key, ...setting })).sort(byKey);
  return manifest;
}

function interfaceOf(yaml: Decoder, value: Value): Manifest['interface'] {
  const text = yaml.text(value, 'interface');
  if (text === '') return 'raw';
  if (text === 'raw' || text === 'rpc' || text === 'js') return text;
  yaml.refuse(value, `interface must be raw, rpc or js, not ${quoted(text)}`);
}

function taskOf(yaml: Decoder, value: Value, label: string): Task {
  const task = { name: '', description: '', execArgs: [], defaultArgs: {} };
  operation(yaml, value, label, task, {});
  return task;
}

function hookOf(yaml: Decoder, value: Value, label: string): Hook {
  const hook: Hook = { name: '', description: '', execArgs: [], defaultArgs: {}, triggeredBy: [] };
  operation(yaml, value, label, hook, {
    // Stash never looks whether such a trigger exists, and neither may we: it lists what is written here.
    triggeredBy: (under) => (hook.triggeredBy = yaml.texts(under, `${label}.triggeredBy`)),
  });
  return hook;
}

/** What tasks and hooks have in common. */
function operation(
  yaml: Decoder,
  value: Value,
  label: string,
  into: Task,
  more: Record<string, (value: Value) => void>,
): void {
  // Stash loads it and crashes when it lists the tasks.
  if (yaml.isNull(value)) yaml.refuse(value, `${label} is empty; remove it, or give it a name`);
  const defaultArgs = new Map<string, string>();
  yaml.fields(value, label, {
    name: (under) => (into.name = yaml.name(under, `${label}.name`)),
    description: (under) => (into.description = yaml.text(under, `${label}.description`)),
    execArgs: (under) => (into.execArgs = yaml.texts(under, `${label}.execArgs`)),
    defaultArgs: (under) =>
      yaml.map(under, `${label}.defaultArgs`, defaultArgs, (item, itemLabel) => yaml.text(item, itemLabel)),
    ...more,
  });
  into.defaultArgs = bare(defaultArgs);
}

function settingOf(yaml: Decoder, value: Value, label: string): Omit<Setting, 'key'> {
  const setting: Omit<Setting, 'key'> = { type: 'STRING', displayName: '', description: '' };
  yaml.fields(value, label, {
    type: (under) => {
      const text = yaml.text(under, `${label}.type`);
      if (text === '') setting.type = 'STRING';
      else if (text === 'STRING' || text === 'NUMBER' || text === 'BOOLEAN') setting.type = text;
      else yaml.refuse(under, `${label}.type must be STRING, NUMBER or BOOLEAN, not ${quoted(text)}`);
    },
    displayName: (under) => (setting.displayName = yaml.text(under, `${label}.displayName`)),
    description: (under) => (setting.description = yaml.text(under, `${label}.description`)),
  });
  return setting;
}

function userInterfaceOf(yaml: Decoder, value: Value): UserInterface | null {
  if (yaml.isNull(value)) return null;
  const assets = new Map<string, string>();
  const csp: UserInterface['csp'] = { 'script-src': [], 'style-src': [], 'connect-src': [] };
  const ui: UserInterface = { requires: [], javascript: [], css: [], assets: {}, csp };
  yaml.fields(value, 'ui', {
    requires: (under) => (ui.requires = yaml.texts(under, 'ui.requires')),
    javascript: (under) => (ui.javascript = yaml.texts(under, 'ui.javascript')),
    css: (under) => (ui.css = yaml.texts(under, 'ui.css')),
    assets: (under) => yaml.map(under, 'ui.assets', assets, (item, label) => yaml.text(item, label)),
    csp: (under) =>
      yaml.fields(under, 'ui.csp', {
        'script-src': (sources) => (csp['script-src'] = yaml.texts(sources, 'ui.csp.script-src')),
        'style-src': (sources) => (csp['style-src'] = yaml.texts(sources, 'ui.csp.style-src')),
        'connect-src': (sources) => (csp['connect-src'] = yaml.texts(sources, 'ui.csp.connect-src')),
      }),
  });
  ui.assets = bare(assets);
  return ui;
}

function pluginOf(id: string, source: ManifestSource, manifest: Manifest): Plugin {
  const { path, realDir } = source;
  const asks = asksOf(source);
  const program = programOf(manifest);
  const entries: Entry[] = [
    ...manifest.tasks.map((task) => ({ kind: 'task' as const, ...task })),
    ...manifest.hooks.map((hook) => ({ kind: 'hook' as const, ...hook })),
  ];
  if (program.runtime !== 'none') entries.push({ kind: 'operation' });
  const { name, description, url, version, settings, ui, errLog } = manifest;
  return {
    id,
    dialect: 'stash',
    name,
    description,
    url,
    version,
    dir: dirname(path),
    realDir: realDir ?? dirname(path),
    manifestFile: path,
    program,
    entries,
    settings,
    ui,
    errLog,
    ...(asks === undefined ? {} : { asks }),
  };
}

/** Without `exec` there is still a program where something asks for one: running it says what is missing. */
function programOf({ interface: speaks, exec, tasks, hooks }: Manifest): Program {
  if (speaks === 'js') return { runtime: 'isolate', file: exec[0] ?? null };
  if (speaks === 'raw' && exec.length === 0 && tasks.length === 0 && hooks.length === 0) return { runtime: 'none' };
  return { runtime: 'process', exec, speaks };
}

/** Without a prototype, so that the key `__proto__` is a key like any other. */
function bare(map: Map<string, string>): Record<string, string> {
  const record: Record<string, string> = Object.create(null);
  for (const [key, value] of map) record[key] = value;
  return record;
}

function byKey(a: Setting, b: Setting): number {
  return a.key < b.key ? -1 : Number(a.key > b.key);
}
