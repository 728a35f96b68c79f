import { randomUUID } from 'node:crypto';
import type { Endpoint } from '../core/invocation.ts';
import type { Holder, Session, Sessions } from '../core/session.ts';
import type { Applications } from './applications.ts';

export type GatewayOptions = { applications: Applications; port: number };

/** What plugins reach: their application, by sessions. */
export class Gateway implements Sessions, AsyncDisposable {
  readonly #options: GatewayOptions;

  private constructor(options: GatewayOptions) {
    this.#options = options;
  }

  static async open(options: GatewayOptions): Promise<Gateway> {
    return new Gateway(options);
  }

  /** Where plugins are told to find it. */
  endpoint(dir: string): Endpoint {
    return { scheme: 'http', host: '127.0.0.1', port: this.#options.port, dir };
  }

  open({ tenant }: Holder): Session {
    const application = this.#options.applications.of(tenant);
    return {
      cookie: randomUUID(),
      calls: 0,
      waitedMs: 0,
      graphql: (body, signal) => application.graphql(body, signal),
      end: () => {},
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
