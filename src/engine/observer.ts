import type { EgressReason, Observed } from '../core/grant.ts';

export type ObserverOptions = {
  write(tenant: string, plugin: string, hosts: readonly Observed[]): Promise<void>;
  /** Told of what could not be written down, which is then lost. */
  complain(error: unknown): void;
  /** How long is gathered before it is written down. */
  everyMs?: number;
};

export type Attempt = { tenant: string; plugin: string; host: string; port: number; because: EgressReason };

const EVERY_MS = 2_000;
/** What is gathered at most: hosts of one plugin, and plugins. What is beyond is not written down. */
const HOSTS_MOST = 100;
const PLUGINS_MOST = 1_000;

type Gathered = { tenant: string; plugin: string; hosts: Map<string, Observed> };

/** Gathers what plugins try to reach while they are observed, and writes it down now and then: no attempt waits for that. */
export class Observer implements AsyncDisposable {
  readonly #options: ObserverOptions;
  #gathered = new Map<string, Gathered>();
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: ObserverOptions) {
    this.#options = options;
  }

  note({ tenant, plugin, host, port, because }: Attempt, lastAt: Date): void {
    // Those are no hosts.
    if (because === 'malformed') return;
    const hosts = this.#hostsOf(tenant, plugin);
    const key = `${host}:${port}`;
    const known = hosts?.get(key);
    if (known !== undefined) Object.assign(known, { tries: known.tries + 1, because, lastAt });
    else if (hosts !== undefined && hosts.size < HOSTS_MOST) hosts.set(key, { host, port, tries: 1, because, lastAt });
    this.#timer ??= setTimeout(() => void this.flush(), this.#options.everyMs ?? EVERY_MS).unref();
  }

  /** Resolves when all that was noted before the call is written down. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const gathered = [...this.#gathered.values()];
    this.#gathered = new Map();
    this.#writing = this.#writing.then(async () => {
      for (const { tenant, plugin, hosts } of gathered) {
        await this.#options.write(tenant, plugin, [...hosts.values()]).catch(this.#options.complain);
      }
    });
    return this.#writing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.flush();
  }

  #hostsOf(tenant: string, plugin: string): Map<string, Observed> | undefined {
    const key = JSON.stringify([tenant, plugin]);
    const known = this.#gathered.get(key)?.hosts;
    if (known !== undefined || this.#gathered.size >= PLUGINS_MOST) return known;
    const hosts = new Map<string, Observed>();
    this.#gathered.set(key, { tenant, plugin, hosts });
    return hosts;
  }
}
