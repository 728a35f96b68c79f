import type { Application, ApplicationRecord, Target } from '../core/application.ts';
import { type Credential, isValueOf } from '../core/credential.ts';
import { HttpApplication, type HttpApplicationOptions, NoApplication, noApplication } from './application.ts';

/** So many are held with their connections at most, beside those that are being called. */
const HELD_MOST = 256;

export type ApplicationsOptions = Pick<HttpApplicationOptions, 'answerBytes' | 'answerBytesAtOnce'> & {
  /** What the configuration says, by tenant. */
  configured: ReadonlyMap<string, Target>;
  /** What the record of a tenant says, which counts over it; undefined where there is no such tenant. */
  recorded(tenant: string): ApplicationRecord | null | undefined;
  /** Credentials by the names of the variables that records have of them. */
  credentials: Readonly<Record<string, string>>;
  heldMost?: number;
};

type Held = {
  application: Application;
  /** Undefined where the credential for it is missing here. */
  http: HttpApplication | undefined;
  /** What it was made of; the record, by identity and by value. */
  record: ApplicationRecord | null;
  text: string;
  usedAt: number;
};

/**
 * The application of each tenant, with connections of its own. It is made when it is needed, and let go of when another
 * one takes its place, when the tenant is gone, and when others need the room.
 */
export class Applications implements AsyncDisposable {
  readonly #options: ApplicationsOptions;
  readonly #held = new Map<string, Held>();
  /** Those that calls are still under way of. */
  readonly #leaving = new Set<HttpApplication>();

  constructor(options: ApplicationsOptions) {
    this.#options = options;
  }

  /** The same object for as long as nothing has changed. Who holds on to it longer asks whatever has come after it. */
  of(tenant: string): Application {
    const record = this.#options.recorded(tenant);
    if (record === undefined) return noApplication;
    const held = this.#held.get(tenant);
    if (held === undefined) return this.#make(tenant, record);
    held.usedAt = performance.now();
    if (held.record === record) return held.application;
    if (held.text !== JSON.stringify(record)) {
      this.#drop(tenant, held);
      return this.#make(tenant, record);
    }
    held.record = record;
    return held.application;
  }

  /** Told when something about a tenant has changed, or when it is gone. */
  look(tenant: string): void {
    const held = this.#held.get(tenant);
    if (held === undefined) return;
    const record = this.#options.recorded(tenant);
    if (record === undefined || held.text !== JSON.stringify(record)) this.#drop(tenant, held);
  }

  /** How many are held now. */
  get size(): number {
    return this.#held.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = [...this.#leaving, ...[...this.#held.values()].flatMap(({ http }) => http ?? [])];
    this.#held.clear();
    await Promise.allSettled(all.map((one) => one[Symbol.asyncDispose]()));
  }

  #make(tenant: string, record: ApplicationRecord | null): Application {
    const target = record === null ? this.#options.configured.get(tenant) : this.#targetOf(record);
    if (target === undefined) return noApplication;
    const http = target instanceof NoApplication ? undefined : new HttpApplication({ ...this.#options, ...target });
    const application = http ?? (target as NoApplication);
    const usedAt = performance.now();
    this.#held.set(tenant, { application, http, record, text: JSON.stringify(record), usedAt });
    this.#makeRoom();
    return application;
  }

  #targetOf({ url, credential: form }: ApplicationRecord): Target | NoApplication {
    if (form === null) return { url, credential: null };
    const { env, ...rest } = form;
    const value = Object.hasOwn(this.#options.credentials, env) ? this.#options.credentials[env] : undefined;
    if (value === undefined) return new NoApplication('The credential of the application is not there on this node');
    if (!isValueOf(form.as, value)) {
      return new NoApplication('The credential of the application, as it is on this node, cannot be sent to it');
    }
    return { url, credential: { ...rest, value } satisfies Credential };
  }

  #makeRoom(): void {
    const over = this.#held.size - (this.#options.heldMost ?? HELD_MOST);
    if (over <= 0) return;
    const idle = [...this.#held].filter(([, { http }]) => http === undefined || http.calls === 0);
    idle.sort(([, one], [, other]) => one.usedAt - other.usedAt);
    // Never the one that was just made for somebody.
    for (const [tenant, held] of idle.slice(0, -1).slice(0, over)) this.#drop(tenant, held);
  }

  #drop(tenant: string, { http }: Held): void {
    this.#held.delete(tenant);
    if (http === undefined) return;
    this.#leaving.add(http);
    // That it was destroyed meanwhile is as good.
    const left = () => void this.#leaving.delete(http);
    http.retire(() => this.of(tenant)).then(left, left);
  }
}
