/**
 * What a front end of Dispatcharr and its API say to each other, written from the facts about that host: each request, and
 * the answer to it. Whoever holds it needs a service with the plugins below and nothing else, and a token that may manage.
 */
import { zip, zipOf } from '../../support/zip.ts';

/** The plugins that are there at the beginning: their files, by folder. */
export const FOLDERS: Readonly<Record<string, Readonly<Record<string, string | Buffer>>>> = {
  Broken: { 'plugin.py': 'raise ImportError("no such module")\n' },
  'Hello World': {
    'logo.png': Buffer.from('89504e470d0a1a0a', 'hex'),
    'plugin.json': JSON.stringify({
      name: 'Hello',
      version: '1.0',
      description: 'Says hello',
      author: 'isopod',
      help_url: 'https://example.com/hello',
      fields: [
        { id: 'greeting', type: 'string', label: 'Greeting', default: 'Hello' },
        { id: 'key', type: 'string', label: 'Key', input_type: 'password' },
        { id: 'nothing', type: 'unheard of', label: 'Dropped' },
      ],
      actions: [
        { id: 'greet', label: 'Greet', confirm: { required: true, title: 'Sure?' }, button_color: 'red' },
        { id: 'watch', label: 'Watch', events: ['channel_start'] },
        { id: 'trip', label: 'Trip', events: ['channel_start', 'channel_error'] },
      ],
    }),
    'plugin.py': `
class Plugin:
    name = "Hello"

    def run(self, action, params, context):
        if action == "greet":
            return {"status": "ok", "message": f'{context["settings"]["greeting"]}, {params.get("name", "you")}'}
        if action == "echo":
            return {"params": params}
        if action == "list":
            return [1, 2]
        if action in ("nothing", "watch"):
            return None
        if action == "refuse":
            return {"status": "error", "message": "no channels"}
        if action == "forbid":
            raise PermissionError("not you")
        raise ValueError(f"no action {action}")
`,
  },
  legacy: {
    'plugin.py': `
class Plugin:
    name = "Old"
    version = "0.1"
    description = "Has no manifest"
    fields = [{"id": "depth", "type": "number", "label": "Depth", "default": 3}]
    actions = [{"id": "dig", "label": "Dig"}]

    def run(self, action, params, context):
        return {"depth": context["settings"]["depth"]}
`,
  },
};

export type Sent = { type?: string; body?: string | FormData };

/** `path` is below /api/plugins/. `shows` are headers that the answer must have. */
export type Exchange = {
  method: string;
  path: string;
  sent: Sent;
  status: number;
  answer: unknown;
  shows?: Record<string, string>;
};

const json = (value: unknown): Sent => ({ type: 'application/json', body: JSON.stringify(value) });
const form = (fields: Record<string, string>): Sent => ({
  type: 'application/x-www-form-urlencoded',
  body: new URLSearchParams(fields).toString(),
});
const parts = (fields: Record<string, string>, file?: { name: string; bytes: Buffer }): Sent => {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.set(name, value);
  if (file !== undefined) body.set('file', new Blob([new Uint8Array(file.bytes)]), file.name);
  return { body };
};
const nothing: Sent = {};

const error = (words: string) => ({ success: false, error: words });

/** All of it, as it is held with the service at `base`. */
export function conversation(base: string): Exchange[] {
  const shown = (key: string, more: object) => ({ ...UNSAID, key, name: key, ...more });
  const broken = shown('broken', { legacy: true });
  const hello = shown('hello_world', {
    name: 'Hello',
    version: '1.0',
    description: 'Says hello',
    author: 'isopod',
    help_url: 'https://example.com/hello',
    fields: [
      { id: 'greeting', type: 'string', label: 'Greeting', default: 'Hello' },
      { id: 'key', type: 'string', label: 'Key', input_type: 'password' },
    ],
    actions: [
      { id: 'greet', label: 'Greet', confirm: { required: true, title: 'Sure?' }, button_color: 'red' },
      { id: 'watch', label: 'Watch', events: ['channel_start'] },
      { id: 'trip', label: 'Trip', events: ['channel_start', 'channel_error'] },
    ],
    logo_url: `${base}/api/plugins/plugins/hello_world/logo/`,
  });
  const legacy = shown('legacy', { legacy: true });
  const told = {
    ...legacy,
    name: 'Old',
    version: '0.1',
    description: 'Has no manifest',
    fields: [{ id: 'depth', type: 'number', label: 'Depth', default: 3 }],
    actions: [{ id: 'dig', label: 'Dig' }],
  };
  const on = { enabled: true, ever_enabled: true, trusted: true, loaded: true };
  const off = { enabled: false, ever_enabled: true, trusted: true, loaded: false };
  const imported = shown('my_plug_in_v1', { name: 'Came in', version: '2' });

  const rows: [string, Sent, number, unknown, Record<string, string>?][] = [
    // What there is, before anybody has trusted anything.
    ['GET plugins/', nothing, 200, { plugins: [broken, hello, legacy] }],
    ['GET plugins', nothing, 301, undefined, { location: '/api/plugins/plugins/' }],
    ['GET plugins/nobody/logo/', nothing, 404, error('Logo not found')],
    ['GET plugins/hello_world/logo/', nothing, 200, '\ufffdPNG\r\n\u001a\n', { 'content-type': 'image/png' }],
    ['PUT plugins/', nothing, 405, { detail: 'Method "PUT" not allowed.' }, { allow: 'GET, HEAD' }],
    ['GET plugins/reload/', nothing, 405, { detail: 'Method "GET" not allowed.' }, { allow: 'POST' }],
    ['GET Plugin/', nothing, 404, { detail: 'Not found.' }],

    // A run, and in which order it is refused.
    ['POST plugins/nobody/run/', json({}), 400, error("Missing 'action'")],
    ['POST plugins/hello_world/run/', json({ action: '' }), 400, error("Missing 'action'")],
    ['POST plugins/hello_world/run/', json({ action: 'greet' }), 403, error('Plugin is disabled')],
    ['POST plugins/nobody/run/', json({ action: 'greet' }), 404, error('Plugin not found')],

    // Enabling it.
    ['POST plugins/hello_world/enabled/', json({}), 400, error("Missing 'enabled' boolean")],
    ['POST plugins/hello_world/enabled/', json({ enabled: 'maybe' }), 400, error("Invalid 'enabled' boolean")],
    ['POST plugins/hello_world/enabled/', json({ enabled: 2 }), 400, error("Invalid 'enabled' boolean")],
    ['POST plugins/nobody/enabled/', json({ enabled: true }), 404, error('Plugin not found')],
    [
      'POST plugins/hello_world/enabled/',
      json({ enabled: true }),
      200,
      { success: true, enabled: true, ever_enabled: true, plugin: { ...hello, ...on } },
    ],
    [
      'POST plugins/legacy/enabled/',
      form({ enabled: 'Yes' }),
      200,
      { success: true, enabled: true, ever_enabled: true, plugin: { ...told, ...on } },
    ],
    [
      'POST plugins/broken/enabled/',
      parts({ enabled: '1' }),
      200,
      { success: true, enabled: true, ever_enabled: true, plugin: { ...broken, ...on, loaded: false } },
    ],

    // What runs come to.
    [
      'POST plugins/hello_world/run/',
      json({ action: 'greet' }),
      200,
      { success: true, result: { status: 'ok', message: 'Hello, you' } },
    ],
    [
      'POST plugins/hello_world/run/',
      json({ action: 'greet', params: { name: 'Ann' } }),
      200,
      { success: true, result: { status: 'ok', message: 'Hello, Ann' } },
    ],
    [
      'POST plugins/hello_world/run/',
      form({ action: 'list' }),
      200,
      { success: true, result: { status: 'ok', result: [1, 2] } },
    ],
    [
      'POST plugins/hello_world/run/',
      parts({ action: 'nothing' }),
      200,
      { success: true, result: { status: 'ok', result: null } },
    ],
    [
      'POST plugins/hello_world/run/',
      json({ action: 'echo', params: [1, 2] }),
      200,
      { success: true, result: { params: [1, 2] } },
    ],
    [
      'POST plugins/hello_world/run/',
      json({ action: 'echo', params: [] }),
      200,
      { success: true, result: { params: {} } },
    ],
    [
      'POST plugins/hello_world/run/',
      json({ action: 'refuse' }),
      200,
      { success: true, result: { status: 'error', message: 'no channels' } },
    ],
    [
      'POST plugins/hello_world/run/',
      json({ action: 'forbid' }),
      403,
      error('not you'),
      { 'isopod-error-code': 'plugin_error' },
    ],
    ['POST plugins/hello_world/run/', json({ action: 'dance' }), 500, error('no action dance')],
    ['POST plugins/broken/run/', json({ action: 'x' }), 500, error("Plugin 'broken' not found")],
    ['POST plugins/legacy/run/', json({ action: 'dig' }), 200, { success: true, result: { depth: 3 } }],

    // Settings are replaced, and what nobody has asked for is kept.
    [
      'POST plugins/hello_world/settings/',
      json({ settings: { greeting: 'Hi', key: 'open sesame', more: [1] } }),
      200,
      { success: true, settings: { greeting: 'Hi', key: '********', more: [1] } },
    ],
    [
      'POST plugins/hello_world/run/',
      json({ action: 'greet' }),
      200,
      { success: true, result: { status: 'ok', message: 'Hi, you' } },
    ],
    ['POST plugins/hello_world/settings/', json({ settings: [1] }), 400, error('Settings must be an object')],
    ['POST plugins/hello_world/settings/', json({}), 200, { success: true, settings: {} }],
    [
      'POST plugins/nobody/settings/',
      json({ settings: {} }),
      400,
      error('PluginConfig matching query does not exist.'),
    ],

    // Events, which its host tells by other ways.
    [
      'POST events/',
      json({ event: 'channel_start', payload: { channel_name: 'One' } }),
      200,
      {
        success: true,
        delivered: [
          { key: 'hello_world', action: 'watch', success: true },
          { key: 'hello_world', action: 'trip', success: false, error: 'no action trip' },
        ],
      },
    ],
    ['POST events/', json({ name: 'channel_stop' }), 200, { success: true, delivered: [] }],
    [
      'POST events/',
      json({ name: 'channel_begin' }),
      200,
      { success: true, delivered: [], note: 'Dispatcharr has no event of this name, so it was dropped' },
    ],

    // All of them anew, and one less.
    ['POST plugins/reload/', nothing, 200, { success: true, count: 3 }],
    [
      'POST plugins/legacy/enabled/',
      json({ enabled: 0 }),
      200,
      {
        success: true,
        enabled: false,
        ever_enabled: true,
        // Its form goes with its code; what it was last is remembered.
        plugin: { ...legacy, version: '0.1', description: 'Has no manifest', ...off },
      },
    ],

    // Archives.
    ['POST plugins/import/', json({}), 400, error("Missing 'file' upload")],
    ['POST plugins/import/', parts({ file: 'no file' }), 400, error("Missing 'file' upload")],
    ['POST plugins/import/', parts({}, ARCHIVES.noZip), 400, error('Invalid zip file')],
    ['POST plugins/import/', parts({}, ARCHIVES.unsafe), 400, error('Unsafe path in archive')],
    [
      'POST plugins/import/',
      parts({}, ARCHIVES.noPlugin),
      400,
      error('Invalid plugin: missing plugin.py or package __init__.py'),
    ],
    ['POST plugins/import/', parts({}, ARCHIVES.plugin), 200, { success: true, plugin: imported, was_managed: false }],
    ['POST plugins/import/', parts({}, ARCHIVES.plugin), 400, error("Plugin 'my_plug_in_v1' already exists")],
    [
      'POST plugins/import/',
      parts({ overwrite: 'false' }, ARCHIVES.plugin),
      400,
      error("Plugin 'my_plug_in_v1' already exists"),
    ],
    [
      'POST plugins/import/',
      parts({ overwrite: 'true' }, ARCHIVES.plugin),
      200,
      { success: true, plugin: imported, was_managed: false },
    ],

    // And away with it.
    ['DELETE plugins/my_plug_in_v1/delete/', nothing, 200, { success: true }],
    ['DELETE plugins/hello_world/delete/', nothing, 200, { success: true }],
    ['DELETE plugins/nobody/delete/', nothing, 200, { success: true }],
    [
      'GET plugins/',
      nothing,
      200,
      {
        plugins: [
          { ...broken, ...on, loaded: false },
          { ...legacy, version: '0.1', description: 'Has no manifest', ...off },
        ],
      },
    ],

    // What is no request.
    ['POST plugins/legacy/run/', { type: 'text/plain', body: 'x' }, 415, NO_SUCH_TYPE],
  ];
  return rows.map(([asked, sent, status, answer, shows]) => {
    const [method = '', path = ''] = asked.split(' ');
    return { method, path, sent, status, answer, ...(shows === undefined ? {} : { shows }) };
  });
}

const NO_SUCH_TYPE = { detail: 'Unsupported media type "text/plain" in request.' };

/** A plugin that says nothing of itself, and that nobody has touched. */
const UNSAID = {
  version: '',
  description: '',
  author: '',
  help_url: '',
  enabled: false,
  ever_enabled: false,
  fields: [],
  actions: [],
  settings: {},
  missing: false,
  trusted: false,
  loaded: false,
  legacy: false,
  logo_url: null,
  source_repo: null,
  source_repo_name: null,
  is_official_repo: false,
  slug: '',
  is_managed: false,
  installed_version_is_prerelease: false,
  update_available: false,
  latest_version: null,
  deprecated: false,
};

const CODE = 'class Plugin:\n    def run(self, action, params, context):\n        return {}\n';

const ARCHIVES = {
  noZip: { name: 'x.zip', bytes: Buffer.from('this is no archive') },
  noPlugin: { name: 'x.zip', bytes: zipOf({ 'readme.txt': 'nothing here' }) },
  unsafe: { name: 'x.zip', bytes: zip([{ name: '../plugin.py', content: CODE }]) },
  plugin: {
    name: 'My-Plug In.v1.zip',
    bytes: zipOf({ 'plugin.py': CODE, 'plugin.json': JSON.stringify({ name: 'Came in', version: '2' }) }),
  },
};

/** What came of one request, in the form in which it is written above. */
export type Heard = { status: number; answer: unknown; headers: Headers };

export async function say(base: string, { method, path, sent }: Exchange, token?: string): Promise<Heard> {
  const response = await fetch(`${base}/api/plugins/${path}`, {
    method,
    redirect: 'manual',
    headers: {
      ...(sent.type === undefined ? {} : { 'content-type': sent.type }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    ...(sent.body === undefined ? {} : { body: sent.body }),
  });
  const text = await response.text();
  const isJson = /\bjson\b/.test(response.headers.get('content-type') ?? '');
  const answer = isJson ? JSON.parse(text) : text === '' ? undefined : text;
  return { status: response.status, answer, headers: response.headers };
}
