import { type Static, Type } from 'typebox';
import { APPLICATION_URL, APPLICATION_URL_WORDS } from '../core/application.ts';
import { CREDENTIAL_TEXTS, type CredentialKind } from '../core/credential.ts';
import { GRADES } from '../core/isolation.ts';
import { TENANT_ID } from '../core/tenant.ts';

/**
 * Every setting there is. One schema checks the file and the environment, holds the defaults, gives the type, and
 * names the variables: `limits.wallMs` in the file is `ISOPOD_LIMITS_WALL_MS` outside of it.
 */

const closed = { additionalProperties: false } as const;

/** A whole number with a range, so that every refusal can say what is allowed. */
function whole(preset: number, minimum: number, maximum: number, description: string) {
  return Type.Integer({ default: preset, minimum, maximum, description });
}

const DAY = 86_400_000;
const GIB = 1_073_741_824;

const Limits = {
  wallMs: whole(30_000, 1, DAY, 'Wall clock of one invocation'),
  cpuMs: whole(10_000, 1, DAY, 'Processor time inside the plugin, apart from wall time'),
  bootMs: whole(5_000, 1, DAY, 'Wall clock until the code of the plugin is ready to run'),
  heapMb: whole(128, 8, 65_536, 'V8 heap of an embedded plugin'),
  residentMb: whole(512, 16, 1_048_576, 'Resident memory of whatever runs the plugin, beyond its idle size'),
  outputBytes: whole(1_048_576, 1, GIB, 'The answer of the plugin'),
  logBytes: whole(262_144, 0, GIB, 'Log text kept of one invocation; the rest is dropped and counted'),
  logLines: whole(1_000, 0, 10_000_000, 'Log lines kept of one invocation; the rest is dropped and counted'),
  hostCalls: whole(1_000, 0, 10_000_000, 'Calls of the application in one invocation'),
  hostCallsAtOnce: whole(8, 1, 1_000, 'Calls of the application under way at the same time'),
};

const SECRETS_KEY = {
  pattern: '^[\\u0021-\\u002b\\u002d-\\u007e]{32,1024}$',
  allowed: 'of 32 or more visible characters, none of them a comma or a space',
  secret: true,
} as const;

const LowerLimits = Type.Partial(Type.Object(Limits), {
  ...closed,
  description: 'Limits of one plugin, each only ever lower than the general one',
});

const applicationUrl = (description: string) =>
  // It is not shown, as one that is refused may have a password in it.
  Type.String({
    pattern: APPLICATION_URL,
    maxLength: 2_048,
    description,
    allowed: APPLICATION_URL_WORDS,
    secret: true,
  });

function credential(as: CredentialKind, description: string) {
  const { pattern, words } = CREDENTIAL_TEXTS[as];
  return Type.Optional(Type.String({ pattern, allowed: words, secret: true, description }));
}

/** A variable that is no setting of ours. */
const Variable = Type.String({ pattern: '^(?!ISOPOD_(?!CREDENTIAL_))[A-Za-z_][A-Za-z0-9_]{0,199}$' });

function credentialOrVariable(as: CredentialKind) {
  const { pattern, words } = CREDENTIAL_TEXTS[as];
  const forms = [Type.String({ pattern }), Type.Object({ env: Variable }, closed)];
  const allowed = `${words}; or { env: NAME }, a variable that has it`;
  return Type.Optional(Type.Unsafe<string | { env: string }>({ anyOf: forms, allowed, secret: true }));
}

export const Settings = Type.Object(
  {
    host: Type.String({
      default: '127.0.0.1',
      minLength: 1,
      maxLength: 255,
      description: 'Address to listen on; any but a loopback address needs a token',
    }),
    port: whole(4763, 0, 65_535, 'Port to listen on; 0 takes any that is free'),
    dataDir: Type.String({
      default: 'data',
      minLength: 1,
      description: 'Folder for what the service keeps',
      path: true,
    }),
    pluginsDir: Type.String({
      default: 'plugins',
      minLength: 1,
      description:
        'Folder of the plugins, with a folder in it for each format: stash, dispatcharr, in which each folder is a plugin, and sillytavern, in which each folder and each .js, .cjs or .mjs file is one',
      path: true,
    }),
    applicationUrl: Type.Optional(
      applicationUrl('The application that plugins serve, e.g. http://127.0.0.1:9999; they call its /graphql'),
    ),
    applicationApiKey: credential('apiKey', 'It is shown this in the header ApiKey, as Stash wants it'),
    applicationHeader: credential('header', 'or is shown this header, e.g. "Authorization: Bearer …"'),
    applicationCookie: credential('cookie', 'or this cookie'),
    applications: Type.Record(
      Type.String({ pattern: TENANT_ID.source }),
      Type.Object(
        {
          url: Type.Optional(applicationUrl('As applicationUrl')),
          apiKey: credentialOrVariable('apiKey'),
          header: credentialOrVariable('header'),
          cookie: credentialOrVariable('cookie'),
        },
        closed,
      ),
      { default: {}, description: 'Applications of single tenants, by tenant id; only in the file' },
    ),
    credentials: Type.Record(
      Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]*$' }),
      Type.String({
        pattern: '^[\\u0021-\\u007e][\\u0020-\\u007e]{6,8190}[\\u0021-\\u007e]$',
        allowed: 'of 8 or more visible characters',
        secret: true,
      }),
      {
        default: {},
        description: 'Credentials of applications, by the variables that have them, e.g. ISOPOD_CREDENTIAL_ACME',
      },
    ),
    gateway: Type.Object(
      {
        port: whole(0, 0, 65_535, 'Port of this machine alone at which programs find their application; 0 is any'),
        requestBytes: whole(1_048_576, 1_024, GIB, 'What a plugin asks its application at a time'),
        answerBytes: whole(16_777_216, 1_024, GIB, 'What an application answers at a time'),
        answerBytesAtOnce: whole(67_108_864, 1_024, 16 * GIB, 'Answers of one application that are on their way'),
        depth: whole(40, 1, 1_000, 'Fields inside one another in an operation'),
        fields: whole(5_000, 1, 1_000_000, 'Fields of an operation, with those of fragments at each place'),
      },
      closed,
    ),
    egress: Type.Object(
      {
        ranges: Type.Array(
          Type.String({ pattern: '^[0-9a-fA-F.:]+/\\d{1,3}$', allowed: 'a range of addresses like 192.168.1.0/24' }),
          {
            default: [],
            maxItems: 100,
            description:
              'Special addresses (private, loopback …) that plugins may be granted after all; those where clouds tell secrets stay out',
          },
        ),
        connections: whole(16, 1, 10_000, 'Connections of one invocation to other hosts at once'),
        bytes: whole(104_857_600, 0, 1_024 * GIB, 'What one invocation may send to and get from other hosts'),
        connectMs: whole(10_000, 1, 600_000, 'How long it may take to find and to reach a host'),
        idleMs: whole(60_000, 1, DAY, 'A connection to a host on which nothing comes or goes for so long is ended'),
      },
      closed,
    ),
    databaseUrl: Type.Optional(
      Type.String({
        pattern: '^postgres(ql)?://',
        description: 'PostgreSQL 13 or newer that keeps what must survive; without it a private one in the data folder',
        allowed: 'a postgresql:// URL',
        secret: true,
        variable: 'DATABASE_URL',
      }),
    ),
    databaseConnections: whole(
      10,
      2,
      1_000,
      'Connections to PostgreSQL for what callers ask; a node has 5 more for itself, and those of all nodes must fit its max_connections',
    ),
    secretsKey: Type.Optional(
      Type.String({
        ...SECRETS_KEY,
        description:
          'What settings that are secret are sealed with; without it a key of its own in the data folder. Nodes on one database need the same',
      }),
    ),
    secretsKeysBefore: Type.Array(Type.String(SECRETS_KEY), {
      default: [],
      maxItems: 20,
      description: 'What they were sealed with before: it is still read, and nothing is sealed with it any more',
    }),
    tokens: Type.Array(
      Type.String({
        pattern: '^[A-Za-z0-9._~+/=-]+$',
        minLength: 8,
        allowed: 'of 8 or more letters, digits and . _ ~ + / = -, several with commas between them',
        secret: true,
      }),
      { default: [], maxItems: 100, description: 'Callers have to show one of these', variable: 'ISOPOD_TOKEN' },
    ),
    limits: Type.Object(Limits, { ...closed, description: 'What one invocation may use' }),
    plugins: Type.Record(
      Type.String(),
      Type.Object(
        {
          limits: Type.Optional(LowerLimits),
          scope: Type.Optional(
            Type.Enum(['invoke', 'manage'], {
              description:
                'What it may do with the plugins of its tenant: with manage, reload and configure all of them',
            }),
          ),
        },
        closed,
      ),
      { default: {}, description: 'Settings of single plugins, by plugin id; only in the file' },
    ),
    tenants: Type.Object(
      {
        loaded: whole(1_000, 1, 1_000_000, 'Tenants that are kept loaded; one that something of runs counts, too'),
        idleMs: whole(900_000, 100, 30 * DAY, 'One that nobody used for so long is loaded again when it is needed'),
      },
      closed,
    ),
    concurrency: Type.Object(
      {
        running: whole(64, 1, 100_000, 'Invocations that run at once'),
        waiting: whole(256, 0, 1_000_000, 'Invocations that wait for a place'),
        waitMs: whole(10_000, 1, DAY, 'How long one waits at most'),
      },
      closed,
    ),
    hooks: Type.Object(
      {
        depth: whole(32, 1, 100, 'Hooks and operations of plugins that stand one behind the other'),
        width: whole(
          1_000,
          1,
          1_000_000,
          'Hooks on a node that have come of the same beginning, not counting those that it set off itself',
        ),
        wallMs: Type.Optional(
          Type.Integer({
            minimum: 1,
            maximum: DAY,
            description: 'Wall clock of a hook, where it is to be less than that of others',
          }),
        ),
      },
      closed,
    ),
    jobs: Type.Object(
      {
        atOnce: whole(16, 0, 100_000, 'Jobs that run on this node at once; 0 leaves them to other nodes'),
        keepMs: whole(7 * DAY, 1_000, 365 * DAY, 'How long jobs that have ended are kept, and idempotency keys'),
      },
      closed,
    ),
    executors: Type.Object(
      {
        spares: whole(1, 0, 64, 'Executors booted ahead'),
        most: whole(16, 1, 1_000, 'Executors at once, spares included'),
        perTenant: whole(4, 2, 1_000, 'Executors of one tenant or trust group; others wait for these'),
        memoryMb: whole(0, 0, 1_048_576, 'Resident memory of all executors; 0 is half of what this machine may use'),
        recycleRuns: whole(10_000_000, 1, 1_000_000_000, 'An executor is replaced after so many runs'),
        recycleMs: whole(3_600_000, 1_000, 30 * DAY, 'An executor is replaced when it is so old'),
        recycleMb: whole(1_024, 64, 1_048_576, 'An executor is replaced above so much resident memory'),
        idleMs: whole(300_000, 100, DAY, 'An executor that ran nothing for so long is ended'),
      },
      closed,
    ),
    quarantine: Type.Object(
      {
        offences: whole(3, 1, 1_000, 'A plugin is refused for a while after it broke what it runs in so often'),
        windowMs: whole(600_000, 1, DAY, 'inside this time'),
        firstMs: whole(60_000, 1, DAY, 'Length of the first quarantine; each further one is twice as long'),
        longestMs: whole(1_800_000, 1, 30 * DAY, 'up to this'),
      },
      closed,
    ),
    packages: Type.Object(
      {
        archiveBytes: whole(52_428_800, 1_024, GIB, 'A zip archive of plugins'),
        unpackedBytes: whole(209_715_200, 1_024, 16 * GIB, 'All files of an archive, unpacked'),
        tenantBytes: whole(2 * GIB, 1_024, 1_024 * GIB, 'All packages of a tenant, unpacked, in blocks of 4 KiB'),
        cacheBytes: whole(
          2 * GIB,
          0,
          1_024 * GIB,
          'Unpacked archives that no plugin here uses are removed beyond this',
        ),
      },
      closed,
    ),
    requestBytes: whole(10_485_760, 1_024, GIB, 'The body of a request'),
    requestBytesAtOnce: whole(67_108_864, 1_024, 64 * GIB, 'The bodies of all requests that are under way'),
    drainMs: whole(10_000, 0, DAY, 'How long running invocations may go on when the service shuts down'),
    logLevel: Type.Enum(['silent', 'error', 'warn', 'info', 'debug'], {
      default: 'info',
      description: 'What is logged',
    }),
    isolation: Type.Object(
      {
        tier: Type.Enum(['auto', 'bubblewrap', 'bubblewrap-container', 'landlock', 'pid-namespace', 'process-group'], {
          default: 'auto',
          description: 'How programs and executors are confined; any but auto runs nothing where the machine lacks it',
        }),
        cgroup: Type.Enum(['auto', 'off'], {
          default: 'auto',
          description: 'Whether programs get control groups where some of them are ours to make',
        }),
        least: Type.Enum([...GRADES], {
          default: 'none',
          description: 'The least isolation grade at which anything is run; a tenant may want more',
        }),
        check: Type.Enum(['start', 'demand'], {
          default: 'start',
          description:
            'When it is proven: at each start, which takes a second or two, or when somebody asks or a least grade is set',
        }),
      },
      closed,
    ),
    processes: Type.Object(
      {
        most: whole(32, 1, 10_000, 'External programs that run at once'),
        perTenant: whole(8, 1, 10_000, 'External programs of one tenant that run at once'),
        memoryMb: whole(0, 0, 1_048_576, 'Resident memory of all of them; 0 is half of what this machine may use'),
        parked: whole(
          8,
          0,
          1_000,
          'Programs started before anybody calls, where they read their input first; 0 is none',
        ),
        cpus: whole(
          0,
          0,
          10_000,
          'Processors that one program may keep busy, where there are control groups; 0 is as many as there are',
        ),
        graceMs: whole(300, 0, DAY, 'How long a program that is asked to end may take; 0 ends it at once'),
        stopMs: whole(
          1_000,
          0,
          60_000,
          'How long a program of "interface: rpc" has to end by itself, after it was asked to or has answered',
        ),
        environment: Type.Record(Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]*$' }), Type.String(), {
          default: {},
          description:
            'Variables that every external program gets beside PATH, HOME, TMPDIR, TZ and the locale; only in the file',
        }),
      },
      closed,
    ),
    residents: Type.Object(
      {
        start: Type.Enum(['loaded', 'demand'], {
          default: 'loaded',
          description:
            'When programs that stay are started: as soon as their plugin is enabled and their tenant loaded, or with the first call',
        }),
        most: whole(64, 1, 10_000, 'Programs that stay, at once'),
        perTenant: whole(16, 1, 10_000, 'Programs of one tenant that stay, at once'),
        memoryMb: whole(0, 0, 1_048_576, 'Resident memory of all of them; 0 is half of what this machine may use'),
        wallMs: whole(
          300_000,
          1,
          DAY,
          'Wall clock of one run in a program that stays, where limits.wallMs is for others',
        ),
        cpuMs: whole(120_000, 1, DAY, 'Processor time of one run in it, where limits.cpuMs is for others'),
        idleMs: whole(
          0,
          0,
          30 * DAY,
          'One that does nothing for so long is ended until it is called again; 0 lets it be',
        ),
        graceMs: whole(
          1_000,
          0,
          600_000,
          'How long a run that has to end may take to heed that, each time that it is told, before its process is ended',
        ),
        stopMs: whole(5_000, 0, 600_000, 'How long one may take to stop when it is asked to'),
        dataMb: whole(1_024, 1, 1_048_576, 'What the folders of one may take of a disk'),
        ownJobs: whole(1_000, 1, 10_000, 'Jobs that one may have waiting which it has asked for itself'),
        deaths: whole(5, 1, 1_000, 'One that dies so often is left alone for a while'),
        windowMs: whole(600_000, 1, DAY, 'inside this time, and then for this time'),
      },
      closed,
    ),
    sillytavern: Type.Object(
      {
        enabled: Type.Boolean({
          default: false,
          description:
            'Whether server plugins of the default tenant may run, where its enableServerPlugins does not say; those of other tenants need that',
        }),
        bodyBytes: whole(209_715_200, 1_024, 2_147_483_648, 'What a request to a route of one may send'),
        requests: whole(100, 1, 10_000, 'Requests that may be in one plugin at once'),
        silenceMs: whole(
          120_000,
          1_000,
          DAY,
          'A request on which nothing comes from its plugin for so long is given up; one that goes on may take any time',
        ),
        blockedMs: whole(10_000, 500, DAY, 'A program whose event loop does not turn for so long is ended'),
        csrf: Type.Enum(['on', 'off'], {
          default: 'on',
          description: 'Whether callers without a token have to show x-csrf-token with whatever is no GET',
        }),
        pages: Type.Enum(['sandboxed', 'same-origin'], {
          default: 'sandboxed',
          description: "Whether pages of plugins are kept from this service's own API in the browsers that show them",
        }),
      },
      closed,
    ),
    dispatcharr: Type.Object(
      {
        shim: Type.Enum(['on', 'off'], {
          default: 'on',
          description:
            'Whether its plugins find the few names of their application that are answered here; what else they import of it is not there',
        }),
        version: Type.String({
          default: '0.31.0',
          pattern: '^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$',
          allowed: 'a version, e.g. 0.31.0',
          description: 'The version of the application that its plugins are told',
        }),
        repos: Type.Array(
          Type.String({
            minLength: 1,
            maxLength: 300,
            allowed: 'a host like plugins.example.com or *.example.com:8443',
          }),
          {
            default: [],
            maxItems: 100,
            description:
              'Hosts that plugin repositories, and the archives that they offer, may be fetched from; without any there are none',
          },
        ),
        applications: Type.Record(
          Type.String({ pattern: TENANT_ID.source }),
          Type.Object(
            {
              python: Type.Optional(Type.String({ minLength: 1, pattern: '^/', allowed: 'an absolute path' })),
              pythonPath: Type.Optional(
                Type.Array(Type.String({ pattern: '^/', allowed: 'an absolute path' }), { maxItems: 16 }),
              ),
              settingsModule: Type.String({
                pattern: '^[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)*$',
                allowed: 'the name of a Python module',
              }),
            },
            closed,
          ),
          {
            default: {},
            description:
              'The application itself, where it is on this machine, by tenant id: its Python, the folders of its modules, and DJANGO_SETTINGS_MODULE; only in the file',
          },
        ),
        passwords: Type.Enum(['masked', 'clear'], {
          default: 'masked',
          description:
            "How settings that are secret are shown over Dispatcharr's own API, where its clients may need them",
        }),
      },
      closed,
    ),
    pythonPath: Type.Optional(
      Type.String({
        minLength: 1,
        path: true,
        description: 'The Python that runs Python plugins; by default the one on PATH',
      }),
    ),
  },
  closed,
);

/** All settings, checked and complete. Plain data. */
export type Config = Static<typeof Settings>;

/** What the schema says about a value; `path`, `variable`, `allowed` and `secret` are words of our own. */
export type SettingSchema = {
  type?: string;
  enum?: readonly string[];
  properties?: Record<string, SettingSchema>;
  patternProperties?: Record<string, SettingSchema>;
  items?: SettingSchema;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  description?: string;
  /** A path in the file system, relative to where it was written. */
  path?: boolean;
  /** Name of the environment variable where it is not the derived one. */
  variable?: string;
  /** What is allowed, in words, where a pattern says it. */
  allowed?: string;
  /** Never shown in a message. */
  secret?: boolean;
};

/** A setting that has a value of its own, with its place: `['limits', 'wallMs']`. */
export type Leaf = { path: string[]; schema: SettingSchema; variable: string };

/** All settings with a fixed name, i.e. all but those of single plugins. */
export function leaves(schema: SettingSchema = Settings as SettingSchema, path: string[] = []): Leaf[] {
  if (schema.properties !== undefined) {
    return Object.entries(schema.properties).flatMap(([key, inner]) => leaves(inner, [...path, key]));
  }
  if (schema.patternProperties !== undefined) return [];
  return [{ path, schema, variable: schema.variable ?? variableOf(path) }];
}

/** `['limits', 'wallMs']` → `ISOPOD_LIMITS_WALL_MS` */
function variableOf(path: readonly string[]): string {
  return ['isopod', ...path].map((part) => part.replace(/[A-Z]/g, '_$&').toUpperCase()).join('_');
}
