/**
 * An application as plugins of Stash know it: GraphQL over HTTP on a real socket, with a small part of Stash's schema and
 * what it knows in memory. It wants its credential, remembers what it was asked, tells a service what has happened and
 * waits for the hooks before it answers, as Stash does. And it misbehaves when it is told to.
 */
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { buildSchema, execute, parse, validate } from 'graphql';

/** What it wants to be shown; `name` is that of the header or of the cookie. */
export type Shown = { as: 'apiKey' | 'header' | 'cookie'; name?: string; value: string };

export type TestApplicationOptions = { credential?: Shown | null };

/** A request as it came. */
export type Asked = {
  query: string;
  variables: Record<string, unknown>;
  operationName: string | null;
  headers: IncomingHttpHeaders;
  text: string;
};

/** Where it tells what has happened: the base URL of a service, or of a tenant's part of it (`…/t/acme`). */
export type Events = { url: string; token?: string };

/** What it told, and what came of it; the status is 0 where nobody answered. */
export type Told = { type: string; id: number; chain: string | null; status: number; answer: string };

export type Misdeed = keyof typeof MISDEEDS;

const SECRET: Shown = { as: 'apiKey', value: 'the-applications-own.api-key' };
const CHAIN = 'isopod-hook-chain';

type Scene = { id: string; title: string | null; details: string | null; rating100: number | null; organized: boolean };
type Job = { id: string; status: string; description: string; progress: number | null; addTime: string };
type Asking = { chain: string | null };
type Input = Record<string, unknown> & { id?: string };

export class TestApplication implements AsyncDisposable {
  readonly url: string;
  credential: Shown | null;
  readonly asked: Asked[] = [];
  readonly told: Told[] = [];
  readonly scenes = new Map<string, Scene>();
  readonly tags = new Map<string, { id: string; name: string }>();
  readonly jobs = new Map<string, Job>();
  /** Nobody is told anything without it. */
  events: Events | null = null;
  /** What it does with all requests instead of answering them. */
  misdeed: Misdeed | null = null;
  /** It does not pass on what led to an event. */
  forgetsChains = false;
  /** Told of each request that comes (1) and each that is over (-1). */
  watch: ((change: 1 | -1) => void) | null = null;
  /** How many that it did not let in. */
  refused = 0;
  readonly #server: Server;
  #id = 0;

  private constructor(server: Server, credential: Shown | null) {
    this.#server = server;
    this.credential = credential;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    for (const title of ['One', 'Two', 'Three']) this.#addScene({ title });
    this.#addTag('seen');
    server.on('request', (request, response) => void this.#serve(request, response));
  }

  static async start({ credential = SECRET }: TestApplicationOptions = {}): Promise<TestApplication> {
    // Longer than any test: who closes a connection is whoever has called.
    const server = createServer({ maxHeaderSize: 65_536, keepAliveTimeout: 300_000 });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new TestApplication(server, credential);
  }

  /** How many connections to it are open now. */
  connections(): Promise<number> {
    return promisify(this.#server.getConnections).call(this.#server);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  // ── answering ─────────────────────────────────────────────────────────────────────────────────────────────────

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {});
    const { watch } = this;
    watch?.(1);
    response.once('close', () => watch?.(-1));
    let text = '';
    try {
      for await (const chunk of request.setEncoding('utf8')) text += chunk;
    } catch {
      return;
    }
    if (!this.#letsIn(request)) {
      this.refused += 1;
      response.writeHead(401).end('Unauthorized');
      return;
    }
    if (request.url !== '/graphql') {
      response.writeHead(404).end('404 page not found');
      return;
    }
    let body: Partial<Asked> = {};
    try {
      body = JSON.parse(text);
    } catch {
      // As one without a query.
    }
    const { query = '', variables, operationName = null } = body;
    this.asked.push({ query, variables: variables ?? {}, operationName, headers: request.headers, text });
    const answer = async () => {
      const { status, result } = await this.#answer(
        query,
        variables ?? {},
        operationName,
        this.forgetsChains ? null : headerOf(request, CHAIN),
      );
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(result));
    };
    if (this.misdeed === null) await answer();
    else await MISDEEDS[this.misdeed](response, answer);
  }

  #letsIn(request: IncomingMessage): boolean {
    if (this.credential === null) return true;
    const { as, name = 'session', value } = this.credential;
    if (as === 'apiKey') return headerOf(request, 'apikey') === value;
    if (as === 'header') return headerOf(request, name) === value;
    return (request.headers.cookie ?? '').split('; ').includes(`${name}=${value}`);
  }

  /** What is wrong with a document has the status that gqlgen, and so Stash, gives it. */
  async #answer(query: string, variables: Record<string, unknown>, operationName: string | null, chain: string | null) {
    try {
      const document = parse(query);
      const errors = validate(SCHEMA, document);
      if (errors.length > 0) return { status: 422, result: { errors, data: null } };
      const asking: Asking = { chain };
      const rootValue = this.#fields();
      const result = await execute({
        schema: SCHEMA,
        document,
        rootValue,
        contextValue: asking,
        variableValues: variables,
        operationName,
      });
      return { status: 200, result };
    } catch (error) {
      return { status: 422, result: { errors: [error], data: null } };
    }
  }

  // ── what it knows and does ────────────────────────────────────────────────────────────────────────────────────

  #fields() {
    const allTags = () => [...this.tags.values()];
    const shown = (scene: Scene | undefined) => (scene === undefined ? null : { ...scene, tags: allTags });
    const of = (input: Input) => this.scenes.get(String(input.id));
    return {
      version: { version: 'v0.30.0', hash: 'abcdef01', build_time: '2025-01-01 00:00:00' },
      systemStatus: { databaseSchema: 72, appSchema: 72, databasePath: '/data/stash.sqlite', status: 'OK' },
      configuration: {
        general: { apiKey: this.credential?.value ?? '', databasePath: '/data/stash.sqlite', stashes: [] },
        ui: { title: 'Test' },
        plugins: { native: { ofTheApplication: true } },
      },
      plugins: [{ id: 'native', name: 'Of the application', enabled: true }],
      findScene: ({ id }: { id?: string }) => shown(this.scenes.get(id ?? '')),
      findScenes: ({ scene_ids: ids }: { scene_ids?: number[] }) => {
        const scenes = [...this.scenes.values()].filter((one) => ids?.includes(Number(one.id)) ?? true);
        return { count: scenes.length, scenes: scenes.map(shown) };
      },
      allTags,
      findTags: () => ({ count: this.tags.size, tags: allTags() }),
      jobQueue: () => {
        const waiting = [...this.jobs.values()].filter(({ status }) => status !== 'FINISHED');
        return waiting.length === 0 ? null : waiting;
      },
      findJob: ({ input }: { input: { id: string } }) => this.jobs.get(input.id) ?? null,
      sceneCreate: async ({ input }: { input: Input }, { chain }: Asking) => {
        const scene = this.#addScene(input);
        await this.#tell({ type: 'Scene.Create.Post', id: Number(scene.id), input: null }, chain);
        return shown(scene);
      },
      sceneUpdate: async ({ input }: { input: Input }, { chain }: Asking) => {
        const scene = of(input);
        if (scene === undefined) throw new Error(`scene with id ${input.id} not found`);
        Object.assign(scene, given(input, scene));
        const inputFields = Object.keys(input);
        await this.#tell({ type: 'Scene.Update.Post', id: Number(scene.id), input, inputFields }, chain);
        return shown(scene);
      },
      bulkSceneUpdate: async ({ input }: { input: Input & { ids: string[] } }, { chain }: Asking) => {
        const scenes = input.ids.flatMap((id) => this.scenes.get(id) ?? []);
        const inputFields = Object.keys(input);
        for (const scene of scenes) Object.assign(scene, given(input, scene));
        for (const { id } of scenes)
          await this.#tell({ type: 'Scene.Update.Post', id: Number(id), input, inputFields }, chain);
        return scenes.map(shown);
      },
      sceneDestroy: async ({ input }: { input: Input }, { chain }: Asking) => {
        if (!this.scenes.delete(String(input.id))) throw new Error(`scene with id ${input.id} not found`);
        await this.#tell({ type: 'Scene.Destroy.Post', id: Number(input.id), input }, chain);
        return true;
      },
      tagCreate: async ({ input }: { input: Input & { name: string } }, { chain }: Asking) => {
        if (allTags().some(({ name }) => name === input.name)) throw new Error(`tag with name '${input.name}' exists`);
        const tag = this.#addTag(input.name);
        await this.#tell({ type: 'Tag.Create.Post', id: Number(tag.id), input }, chain);
        return tag;
      },
      metadataScan: () => {
        const id = String(this.#next());
        const addTime = new Date(0).toISOString();
        this.jobs.set(id, { id, status: 'RUNNING', description: 'Scanning...', progress: 0.5, addTime });
        return id;
      },
      // True for what it does not know, too.
      stopJob: ({ job_id: id }: { job_id: string }) => this.jobs.delete(id) || true,
      stopAllJobs: () => {
        this.jobs.clear();
        return true;
      },
    };
  }

  /** What comes of it never reaches whoever asked for the change. */
  async #tell(event: { type: string; id: number; input: unknown; inputFields?: string[] }, chain: string | null) {
    if (this.events === null) return;
    const { url, token } = this.events;
    const headers: Record<string, string> = { 'content-type': 'application/json' };
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    if (chain !== null) headers[CHAIN] = chain;
    const { type, id } = event;
    try {
      const response = await fetch(`${url}/v1/events`, { method: 'POST', headers, body: JSON.stringify(event) });
      this.told.push({ type, id, chain, status: response.status, answer: await response.text() });
    } catch (error) {
      this.told.push({ type, id, chain, status: 0, answer: String(error) });
    }
  }

  #addScene(input: Input): Scene {
    const blank = { id: '', title: null, details: null, rating100: null, organized: false };
    const scene = { ...blank, ...given(input, blank), id: String(this.#next()) };
    this.scenes.set(scene.id, scene);
    return scene;
  }

  #addTag(name: string) {
    const tag = { id: String(this.#next()), name };
    this.tags.set(tag.id, tag);
    return tag;
  }

  #next(): number {
    this.#id += 1;
    return this.#id;
  }
}

/** What of the input is a scene's own. */
function given(input: Input, scene: Scene): Partial<Scene> {
  return Object.fromEntries(Object.entries(input).filter(([key]) => key !== 'id' && Object.hasOwn(scene, key)));
}

function headerOf(request: IncomingMessage, name: string): string | null {
  const value = request.headers[name.toLowerCase()];
  return typeof value === 'string' ? value : null;
}

const MB = 1_048_576;
const JSON_TYPE = { 'content-type': 'application/json' };

/** Ways not to answer. */
const MISDEEDS = {
  never: () => {},
  garbage: (response) => response.writeHead(200, JSON_TYPE).end(Buffer.from([0xff, 0x00, 0x7b, 0xfe, 0x22])),
  'half an answer': (response) => response.writeHead(200, JSON_TYPE).end('{"data":{"version":'),
  text: (response) => response.writeHead(200, { 'content-type': 'text/plain' }).end('It works!'),
  'no data': (response) => response.writeHead(200, JSON_TYPE).end('[1,null]'),
  html: (response) => response.writeHead(500, { 'content-type': 'text/html' }).end('<h1>Internal Server Error</h1>'),
  closes: (response) => response.socket?.destroy(),
  'breaks off': (response) => {
    response.writeHead(200, { ...JSON_TYPE, 'content-length': 1_000 });
    response.write('{"data":', () => response.socket?.destroy());
  },
  slowly: (_, answer) => new Promise((resolve) => setTimeout(resolve, 300)).then(answer),
  huge: (response) => flood(response.writeHead(200, JSON_TYPE), 100),
  'huge as it says': (response) => flood(response.writeHead(200, { ...JSON_TYPE, 'content-length': 100 * MB }), 100),
  endless: (response) => flood(response.writeHead(200, JSON_TYPE), Number.POSITIVE_INFINITY),
  trickle: (response) => {
    response.writeHead(200, JSON_TYPE);
    const timer = setInterval(() => response.write(' '), 20);
    response.once('close', () => clearInterval(timer));
  },
  'a bomb': (response) =>
    response.writeHead(200, { ...JSON_TYPE, 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(100 * MB, ' '))),
  'many headers': (response) => {
    const lines = Array.from({ length: 20_000 }, (_, i) => `X-${i}: ${'x'.repeat(40)}\r\n`).join('');
    response.socket?.end(`HTTP/1.1 200 OK\r\n${lines}Content-Length: 2\r\n\r\n{}`);
  },
  redirect: (response) => response.writeHead(307, { location: 'http://127.0.0.1:9/elsewhere' }).end(),
  'sets a cookie': (response, answer) => {
    response.setHeader('set-cookie', ['session=of-somebody; Path=/', 'other=1']);
    return answer();
  },
} as const satisfies Record<string, (response: ServerResponse, answer: () => Promise<void>) => unknown>;

/** So many MB of a text in JSON, as quickly as it is read. */
async function flood(response: ServerResponse, mb: number): Promise<void> {
  const chunk = 'x'.repeat(MB);
  const closed = new Promise((resolve) => response.once('close', resolve));
  for (let i = 0; i < mb && !response.destroyed; i += 1) {
    if (response.write(i === 0 ? `"${chunk.slice(1)}` : chunk)) continue;
    await Promise.race([closed, new Promise((resolve) => response.once('drain', resolve))]);
  }
  if (!response.destroyed) response.end();
}

/** As Stash has it, where it has it. */
const SCHEMA = buildSchema(`
  scalar Map
  scalar Time
  scalar PluginConfigMap

  type Version { version: String, hash: String!, build_time: String! }
  enum SystemStatusEnum { SETUP NEEDS_MIGRATION OK }
  type SystemStatus { databaseSchema: Int, databasePath: String, appSchema: Int!, status: SystemStatusEnum! }
  type StashConfig { path: String! }
  type ConfigGeneralResult { apiKey: String!, databasePath: String!, stashes: [StashConfig!]! }
  type ConfigResult { general: ConfigGeneralResult!, ui: Map!, plugins(include: [ID!]): PluginConfigMap! }
  type Plugin { id: ID!, name: String!, enabled: Boolean! }

  type Tag { id: ID!, name: String! }
  type Scene {
    id: ID!, title: String, details: String, rating100: Int, organized: Boolean!, tags: [Tag!]!
  }
  type FindScenesResultType { count: Int!, scenes: [Scene!]! }
  type FindTagsResultType { count: Int!, tags: [Tag!]! }
  input SceneCreateInput { title: String, details: String, rating100: Int, organized: Boolean }
  input SceneUpdateInput { id: ID!, title: String, details: String, rating100: Int, organized: Boolean }
  input BulkSceneUpdateInput { ids: [ID!], title: String, details: String, rating100: Int, organized: Boolean }
  input SceneDestroyInput { id: ID!, delete_file: Boolean, delete_generated: Boolean }
  input TagCreateInput { name: String!, description: String }
  input ScanMetadataInput { paths: [String!], rescan: Boolean }
  input FindJobInput { id: ID! }

  enum JobStatus { READY RUNNING FINISHED STOPPING CANCELLED FAILED }
  type Job {
    id: ID!, status: JobStatus!, subTasks: [String!], description: String!, progress: Float, startTime: Time,
    endTime: Time, addTime: Time!, error: String
  }

  type Query {
    version: Version!
    systemStatus: SystemStatus!
    configuration: ConfigResult!
    plugins: [Plugin!]
    findScene(id: ID, checksum: String): Scene
    findScenes(scene_ids: [Int!]): FindScenesResultType!
    allTags: [Tag!]!
    findTags: FindTagsResultType!
    jobQueue: [Job!]
    findJob(input: FindJobInput!): Job
  }

  type Mutation {
    sceneCreate(input: SceneCreateInput!): Scene
    sceneUpdate(input: SceneUpdateInput!): Scene
    bulkSceneUpdate(input: BulkSceneUpdateInput!): [Scene!]
    sceneDestroy(input: SceneDestroyInput!): Boolean!
    tagCreate(input: TagCreateInput!): Tag
    metadataScan(input: ScanMetadataInput!): ID!
    stopJob(job_id: ID!): Boolean!
    stopAllJobs: Boolean!
  }
`);
