/** The shapes of our answers, as the API reference shows them. */
import { type TSchema, Type } from 'typebox';
import { BLAMED, FAILURE_CODES } from '../core/failure.ts';
import { GRADES } from '../core/isolation.ts';
import { FIELD_TYPES } from '../core/portrait.ts';

const count = (description: string) => Type.Integer({ minimum: 0, description });
const time = (description: string) => Type.Number({ minimum: 0, description });
export const OrNull = <S extends TSchema>(schema: S, options = {}) => Type.Union([schema, Type.Null()], options);

const Usage = Type.Object({
  cpuMs: time('Processor time'),
  wallMs: time('Wall clock'),
  peakMemoryBytes: count('Largest memory seen'),
  hostCalls: count('Calls of the application'),
  outputBytes: count('Size of the answer'),
  logLines: count('Log lines kept'),
  logLinesDropped: count('Log lines that were over a limit'),
});

const Timings = Type.Object(
  {
    queue: time('Waiting for a place'),
    boot: time('Until the code was ready to run'),
    run: time('Running'),
    host: time('Waiting for the application'),
  },
  { description: 'Parts that add up to the whole, in ms' },
);

const Logs = Type.Array(
  Type.Object({
    level: Type.Enum(['trace', 'debug', 'info', 'warning', 'error']),
    message: Type.String(),
    atMs: time('Since the start of the run'),
  }),
  { description: 'With `?include=logs` only' },
);

const Progress = OrNull(Type.Number({ minimum: 0, maximum: 1 }), { description: 'Last progress told' });

export const InvocationAnswer = Type.Object(
  {
    id: Type.String({ description: 'Id of the invocation, as in the header Isopod-Invocation and in our log' }),
    output: Type.Unknown({ description: 'What the plugin answered' }),
    progress: Progress,
    logs: Type.Optional(Logs),
    usage: Usage,
    timingsMs: Timings,
  },
  { description: 'The plugin answered' },
);

const Problem = Type.Object(
  {
    type: Type.String({ description: 'A page about this kind of problem' }),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String(),
    code: Type.Enum([...FAILURE_CODES]),
    blame: Type.Enum([...BLAMED], { description: 'Who must act' }),
    hint: Type.String({ description: 'What to do next' }),
    invocation: Type.Optional(Type.String()),
    request: Type.Optional(Type.String({ description: 'Of a request to a route of a plugin, as in Isopod-Request' })),
    retryable: Type.Boolean({ description: 'True only where nothing has happened yet' }),
    retryAfterMs: Type.Optional(Type.Number()),
    limit: Type.Optional(
      Type.Object({
        name: Type.String(),
        allowed: Type.Number(),
        observed: Type.Number(),
        unit: Type.Enum(['ms', 'bytes', 'count']),
      }),
    ),
    errors: Type.Optional(
      Type.Array(Type.Object({ pointer: Type.String(), detail: Type.String() }), {
        description: 'Where in the request, as JSON pointers',
      }),
    ),
    plugin: Type.Optional(Type.Object({ id: Type.String(), version: OrNull(Type.String()) })),
    pluginError: Type.Optional(
      Type.Object(
        { name: Type.String(), message: Type.String(), stack: Type.Optional(Type.String()) },
        { description: 'The words of the plugin itself' },
      ),
    ),
    rung: Type.Optional(
      Type.Enum(['cooperative', 'interrupted', 'disposed', 'terminated', 'killed'], {
        description: 'What it took to end the run',
      }),
    ),
    output: Type.Optional(Type.Unknown({ description: 'Where the plugin answered an error and an output' })),
    progress: Type.Optional(Progress),
    logs: Type.Optional(Logs),
    usage: Type.Optional(Usage),
    timingsMs: Type.Optional(Timings),
  },
  { description: 'Problem (RFC 9457)' },
);

const SENTENCES: Record<number, string> = {
  400: 'The request does not fit its schema',
  401: 'A token is needed',
  403: 'The token does not allow it, or a token is needed from there',
  404: 'There is no such thing',
  409: 'It was stopped, or is in another state',
  412: 'It is not what the caller has seen any more',
  413: 'The body is too large',
  415: 'The body is of another kind',
  416: 'The range begins behind the end',
  422: 'What was sent is not acceptable as a package',
  429: 'Too many at once',
  500: 'A bug of ours',
  502: 'The plugin misbehaved',
  503: 'We are short of something',
  504: 'The plugin was too slow',
  508: 'Plugins set each other off in a circle',
};

/** The same document for each of these. */
export function Problems(...statuses: number[]): Record<number, unknown> {
  return Object.fromEntries(
    statuses.map((status) => [
      status,
      { description: SENTENCES[status], content: { 'application/problem+json': { schema: Problem } } },
    ]),
  );
}

const Text = Type.String();

export const FileSchema = Type.Object(
  {
    path: Type.String({ maxLength: 1_024, description: 'Absolute; the plugin finds it at the same place' }),
    mode: Type.Enum(['ro', 'rw'], { description: 'To read, or also to write' }),
  },
  { additionalProperties: false },
);

const Granted = {
  network: Type.Array(Text, { description: 'Hosts' }),
  files: Type.Array(FileSchema, { description: 'Files and folders of this machine' }),
  limits: Type.Record(Type.String(), Type.Integer()),
};

export const GrantSchema = Type.Object(Granted);

export const AskSchema = Type.Object({
  ...Granted,
  reason: OrNull(Text, { description: 'Its own words' }),
  problem: OrNull(Text, { description: 'Why it cannot be told what it asks for; then it asks for nothing' }),
});

const Said = Type.Optional(Text);

/** In the words of its host, as whoever draws it knows them. */
const FormFieldSchema = Type.Object({
  id: Text,
  type: Type.Enum([...FIELD_TYPES]),
  label: Said,
  help_text: Said,
  description: Said,
  placeholder: Said,
  input_type: Type.Optional(Type.String({ description: 'Of "password" nobody is shown what is set' })),
  value: Said,
  default: Type.Optional(Type.Unknown()),
  min: Type.Optional(Type.Number()),
  max: Type.Optional(Type.Number()),
  step: Type.Optional(Type.Number()),
  options: Type.Optional(Type.Array(Type.Object({ value: Text, label: Text }))),
});

const ActionSchema = Type.Object({
  id: Type.String({ description: 'What is asked for as `task`' }),
  label: Text,
  description: Said,
  confirm: Type.Optional(Type.Unknown()),
  button_label: Said,
  button_variant: Said,
  button_color: Said,
  events: Type.Optional(Type.Array(Text)),
});

const PortraitSchema = Type.Object({
  name: Text,
  version: Text,
  description: Text,
  author: Text,
  helpUrl: Text,
  fields: Type.Array(FormFieldSchema),
  actions: Type.Array(ActionSchema),
});

const Moment = Type.String({ format: 'date-time' });

const ResidentSchema = Type.Object({
  is: Type.Enum(['starting', 'running', 'stopping', 'resting', 'ended'], {
    description: 'Resting: it has died and is started again; ended: it was stopped, or is not needed',
  }),
  since: Moment,
  startedAt: OrNull(Moment, { description: 'Since when it is up, or was' }),
  residentBytes: count('Resident memory, with its children'),
  cpuMs: time('Processor time since it was started'),
  running: count('Runs under way'),
  runs: count('Runs since it was first started'),
  deaths: count('How often it has died lately'),
  nextAt: OrNull(Moment, { description: 'When it is started again' }),
  failure: OrNull(
    Type.Object({
      code: Type.Enum([...FAILURE_CODES]),
      message: Text,
      pluginError: Type.Optional(Type.Object({ name: Text, message: Text }, { description: 'Its own words' })),
    }),
    { description: 'Of what it died the last time' },
  ),
});

const Warnings = Type.Array(Text, {
  description: 'What was left out of its manifest and why, for whoever writes it: few sentences, none of them long',
});

export const PluginSummary = Type.Object({
  id: Text,
  dialect: Type.String({ description: 'Whose plugin format it is in' }),
  name: Text,
  description: OrNull(Text),
  url: OrNull(Text),
  version: OrNull(Text),
  enabled: Type.Boolean({ description: 'Whether the plugin is enabled itself' }),
  heldBack: OrNull(Text, {
    description:
      'Why it is not run although it is enabled, e.g. as server plugins are off for its tenant; null otherwise',
  }),
  program: Type.String({ description: 'What runs it: isolate, process, python, node, or none' }),
  resident: OrNull(ResidentSchema, {
    description: 'How its program does on this node, where it stays between calls; null where there was none yet',
  }),
  portrait: OrNull(PortraitSchema, {
    description:
      'What it says of itself to people: the form of its settings, its buttons. Null in formats that have no such thing',
  }),
  warnings: Warnings,
  permissions: Type.Enum(['complete', 'missing'], { description: 'Whether it was granted all that it asks for' }),
  tasks: Type.Array(
    Type.Object({ name: Text, description: Text, defaultArgs: Type.Record(Type.String(), Type.String()) }),
  ),
  hooks: Type.Array(Type.Object({ name: Text, description: Text, triggeredBy: Type.Array(Text) })),
  settings: Type.Array(
    Type.Object({
      key: Text,
      type: Type.Enum(['STRING', 'NUMBER', 'BOOLEAN']),
      displayName: Text,
      description: Text,
    }),
  ),
});

const CameIn = Type.Object({
  sha256: Type.String({ description: 'Of the archive' }),
  installedAt: Type.String({ format: 'date-time' }),
});

const PLAIN = { description: 'The archive that it came in; null for a plain folder' } as const;

export const PluginList = Type.Object(
  {
    plugins: Type.Array(Type.Object({ ...PluginSummary.properties, package: OrNull(CameIn, PLAIN) })),
    refused: Type.Array(
      Type.Object({
        file: Type.String({ description: 'Relative to the plugins folder' }),
        line: OrNull(Type.Integer()),
        column: OrNull(Type.Integer()),
        reason: Text,
      }),
      { description: 'Manifests that could not be taken, and why' },
    ),
    loadedAt: Type.String({ format: 'date-time' }),
  },
  { description: 'The plugins there are' },
);

const Package = Type.Object({
  ...CameIn.properties,
  bytes: Type.Integer({ description: 'Size of the archive' }),
});

export const PluginEntry = Type.Object(
  {
    ...PluginSummary.properties,
    interface: Type.Unknown({ description: 'The program as the manifest describes it' }),
    ui: Type.Unknown({ description: 'Its parts for the user interface, or null' }),
    errLog: OrNull(Text),
    asks: OrNull(AskSchema, { description: 'What it asks for beyond its folder and its application' }),
    package: OrNull(Package, PLAIN),
    limits: Type.Record(Type.String(), Type.Integer(), { description: 'The most that one invocation may use' }),
    explain: OrNull(Type.Object({ runtime: Text, way: Text, because: Text, grade: Type.Enum([...GRADES]) }), {
      description: 'How it is run, why that way, and at which isolation grade',
    }),
    quarantine: OrNull(
      Type.Object({
        until: Type.String({ format: 'date-time' }),
        evidence: Type.Array(Type.Object({ at: Text, code: Text, message: Text })),
      }),
      { description: 'Why it has to wait and until when, or null' },
    ),
  },
  { description: 'One plugin, whole' },
);

export const PluginLogList = Type.Object(
  {
    lines: Type.Array(
      Type.Object({
        at: Moment,
        level: Type.Enum(['trace', 'debug', 'info', 'warning', 'error']),
        message: Text,
        invocation: OrNull(Text, { description: 'The run that it is of; null for what it logs of its own accord' }),
      }),
    ),
  },
  { description: 'The newest lines, the oldest of them first' },
);

export const InstallAnswer = Type.Object(
  {
    plugins: Type.Array(
      Type.Object({ id: Text, name: Text, version: OrNull(Text), dialect: Text, warnings: Warnings }),
    ),
    sha256: Type.String({ description: 'Of the archive' }),
    bytes: Type.Integer({ description: 'Size of the archive' }),
    replaced: Type.Array(Text, { description: 'Plugins that came in another archive before' }),
  },
  { description: 'The plugins of the archive are installed' },
);

export const ReloadAnswer = Type.Object(
  {
    plugins: Type.Integer(),
    refused: Type.Integer(),
    added: Type.Array(Text),
    changed: Type.Array(Text),
    removed: Type.Array(Text),
    loadMs: Type.Number(),
  },
  { description: 'The catalogue was read again; running invocations keep the old one' },
);
