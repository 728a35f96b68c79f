import type { Application } from '../core/application.ts';
import { DEFAULT_TENANT } from '../core/tenant.ts';
import { HttpApplication, noApplication } from './application.ts';

/** The application of each tenant. The one that is configured is the default tenant's; others have none so far. */
export class Applications implements AsyncDisposable {
  readonly #http: HttpApplication | undefined;

  constructor({ applicationUrl }: { applicationUrl?: string | undefined }) {
    this.#http = applicationUrl === undefined ? undefined : new HttpApplication({ url: applicationUrl });
  }

  of(tenant: string): Application {
    return tenant === DEFAULT_TENANT ? (this.#http ?? noApplication) : noApplication;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#http?.[Symbol.asyncDispose]();
  }
}
