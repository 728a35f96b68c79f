/** The service as it is in production: the command line's `serve`, in a process of its own, with its own defaults. */
import { chmod, mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { Child, freePort } from './children.ts';
import { BODY, EXPECT, load } from './load.ts';
import type { Options } from './question.ts';

/** Suits a frozen realm; what raw isolated-vm and workerd do, too. */
export const HANDLER =
  '({ Output: { name: input.Args.name, total: input.Args.items.reduce((sum, one) => sum + one, 0) } })';

/** The same, but for a word that only a fresh context can answer. */
export const FRESH_HANDLER = `this.unused = 1;\n${HANDLER}`;

export type Files = Record<string, string>;

export function script(source: string): Files {
  return { 'plugin.yml': 'name: Bench\ninterface: js\nexec:\n  - plugin.js\n', 'plugin.js': `${source}\n` };
}

/** The same as a class that stays. */
export const RESIDENT: Files = {
  'plugin.py': `class Plugin:
    name = "Bench"

    def run(self, action, params, context):
        return {"name": params["name"], "total": sum(params["items"])}
`,
};

/** The same as a route. */
export const SERVER: Files = {
  'index.mjs': `export const info = { id: 'bench', name: 'Bench', description: 'Adds up' };

export async function init(router) {
  router.post('/', (req, res) => {
    const { name, items } = req.body.args;
    res.json({ output: { name, total: items.reduce((sum, one) => sum + one, 0) } });
  });
}
`,
};

/** Settings of a service that has such. Who asks shows no token, and no page of anybody's is about. */
export const SERVING = { ISOPOD_SILLYTAVERN_ENABLED: 'true', ISOPOD_SILLYTAVERN_CSRF: 'off' };

export type Answer = { status: number; text: string; ms: number };

export class Isopod implements AsyncDisposable {
  readonly port: number;
  readonly child: Child;
  readonly #dataDir: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  private constructor(port: number, child: Child, dataDir: string) {
    this.port = port;
    this.child = child;
    this.#dataDir = dataDir;
  }

  /** `plugins`: their files, by id. `env`: settings that differ from the defaults. */
  static async start(
    options: Options,
    plugins: Record<string, Files>,
    env: Record<string, string> = {},
  ): Promise<Isopod> {
    const folder = await mkdtemp(join(options.folder, 'isopod-'));
    await chmod(folder, 0o755);
    for (const [id, files] of Object.entries(plugins)) await write(join(folder, 'plugins'), id, files);
    const dataDir = join(folder, 'data');
    const port = await freePort();
    const profile = options.cpuProf === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${options.cpuProf}`];
    const cli = new URL('../../src/cli.ts', import.meta.url).pathname;
    const child = new Child(process.execPath, [...profile, cli, 'serve'], {
      cwd: folder,
      env: {
        ...withoutIsopod(process.env),
        ISOPOD_PORT: String(port),
        ISOPOD_DATA_DIR: dataDir,
        ISOPOD_PLUGINS_DIR: join(folder, 'plugins'),
        ...env,
      },
      // It logs as always, but we do not read it: that would cost what is to be measured.
      stdio: ['ignore', 'ignore', 'ignore'],
    });
    try {
      await child.answers(`http://127.0.0.1:${port}/readyz`, 30);
    } catch (error) {
      await child[Symbol.asyncDispose]();
      throw error;
    }
    return new Isopod(port, child, dataDir);
  }

  /** A tenant with one plugin, which is then called `tenant/plugin`. */
  async add(tenant: string, plugin: string, files: Files): Promise<void> {
    const { ok, status } = await fetch(`http://127.0.0.1:${this.port}/v1/tenants`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ id: tenant }),
    });
    if (!ok) throw new Error(`the tenant ${tenant} is not made: ${status}`);
    await write(join(this.#dataDir, 'tenants', tenant, 'plugins'), plugin, files);
  }

  path(id: string): string {
    return `${this.#plugin(id)}/invocations`;
  }

  /** One call, on a connection that is kept. */
  call(id: string, body = BODY): Promise<Answer> {
    return this.ask('POST', this.path(id), body);
  }

  ask(method: string, path: string, body = '', more: Record<string, string> = {}): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const startedAt = performance.now();
    const type = body === '' ? {} : { 'content-type': 'application/json' };
    const headers = { ...type, 'content-length': Buffer.byteLength(body), ...more };
    const call = request(
      { agent: this.#agent, host: '127.0.0.1', port: this.port, path, method, headers },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text, ms: performance.now() - startedAt }),
        );
      },
    );
    call.on('error', reject).setTimeout(30_000, () => call.destroy(new Error('no answer in 30 s')));
    call.end(body);
    return promise;
  }

  /** Trusts a plugin that stays, and waits until it is up. */
  async enable(id: string): Promise<Answer> {
    return await this.ask('POST', `/api/plugins/plugins/${id}/enabled/`, '{"enabled":true}');
  }

  /** Trusts a plugin that answers requests; it may still be on its way up. */
  async trust(id: string): Promise<void> {
    const { status, text } = await this.ask('POST', `/v1/plugins/${id}/enable`);
    if (status !== 200) throw new Error(`${id} is not enabled: ${text}`);
  }

  /** One call that its caller lets go of when the signal says so; whether there was an answer before. */
  abandoned(id: string, signal: AbortSignal): Promise<boolean> {
    const url = `http://127.0.0.1:${this.port}${this.path(id)}`;
    const headers = { 'content-type': 'application/json' };
    return fetch(url, { method: 'POST', headers, body: BODY, signal }).then(
      async (response) => (await response.text()) !== '',
      () => false,
    );
  }

  /** Loads a plugin until it is run in the way that is to be measured. */
  async warm(id: string, way: string): Promise<void> {
    let explain: { way?: string; because?: string } = {};
    for (let round = 0; round < 10; round++) {
      // One at a time first: a plugin earns the quick ways by having been quick, which a burst keeps it from.
      for (let count = 0; count < 20; count++) await this.call(id);
      const { bad, example } = await load({ port: this.port, paths: [this.path(id)], seconds: 0.5 });
      if (bad > 0) throw new Error(`${id} does not answer as it should: ${example}`);
      const response = await fetch(`http://127.0.0.1:${this.port}${this.#plugin(id)}`);
      ({ explain } = (await response.json()) as { explain: typeof explain });
      if (explain.way === way) return;
    }
    throw new Error(`${id} is not run in ${way}, but ${explain.way}: ${explain.because}`);
  }

  #plugin(id: string): string {
    const [plugin, tenant] = id.split('/').reverse();
    return `${tenant === undefined ? '' : `/t/${tenant}`}/v1/plugins/${plugin}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy();
    await this.child[Symbol.asyncDispose]();
  }
}

async function write(pluginsDir: string, id: string, files: Files): Promise<void> {
  const dir = join(pluginsDir, formatOf(files), id);
  await mkdir(dir, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    await writeFile(join(dir, name === 'plugin.yml' ? `${id}.yml` : name), text);
  }
}

function formatOf(files: Files): string {
  if ('plugin.py' in files) return 'dispatcharr';
  return 'index.mjs' in files ? 'sillytavern' : 'stash';
}

export function right({ status, text }: Answer, expect = EXPECT): boolean {
  return status === 200 && text.includes(expect);
}

// Settings of whoever runs the bench are not what is measured.
function withoutIsopod(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !name.startsWith('ISOPOD_') && name !== 'DATABASE_URL'),
  );
}
