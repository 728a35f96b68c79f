import pg from 'pg';
import { isLoss } from './unreachable.ts';

/** Waits this long before it connects again, and twice that the next time. */
const AGAIN_MS = 100;
const AGAIN_MS_MOST = 5_000;
/** A server that went away without a word is noticed in this time and ten seconds. */
const KEEP_ALIVE_MS = 10_000;

type Hear = (payload: string) => void;

/**
 * One connection that hears what any node says with `notify`. What is said while the connection is down is lost, so
 * whoever listens is also told of each new connection (`onBack`), and looks at everything again then.
 */
export class Listener implements AsyncDisposable {
  readonly #config: pg.ClientConfig;
  readonly #turned: (error: Error | undefined) => void;
  readonly #channels = new Map<string, Set<Hear>>();
  readonly #back = new Set<() => void>();
  #client: pg.Client | undefined;
  #connecting: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #againMs = AGAIN_MS;
  #closed = false;

  private constructor(config: pg.ClientConfig, turned: (error: Error | undefined) => void) {
    this.#config = config;
    this.#turned = turned;
  }

  /** `turned` is told when it hears nothing any more, with why; and when it hears again. */
  static async open(config: pg.ClientConfig, turned: (error: Error | undefined) => void = () => {}): Promise<Listener> {
    const listener = new Listener(config, turned);
    await listener.#connect();
    return listener;
  }

  /** Whether it hears. It is the first to notice that the server is gone. */
  get isUp(): boolean {
    return this.#client !== undefined;
  }

  /** Resolves when what is said from now on is heard. Disposing what it gives ends it. */
  async listen(channel: string, hear: Hear, onBack: () => void = () => {}): Promise<Disposable> {
    const known = this.#channels.get(channel);
    const hearers = known ?? new Set();
    hearers.add(hear);
    this.#back.add(onBack);
    if (known === undefined) {
      this.#channels.set(channel, hearers);
      // Without a connection it is among those that the next one listens to, as it is if this one breaks now.
      const client = this.#client;
      await client?.query(`listen ${pg.escapeIdentifier(channel)}`).catch((error) => {
        if (this.#client === client && !isLoss(error)) throw error;
      });
    }
    return {
      [Symbol.dispose]: () => {
        hearers.delete(hear);
        this.#back.delete(onBack);
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#connecting?.catch(() => {});
    await this.#client?.end().catch(() => {});
  }

  #connect(): Promise<void> {
    this.#connecting ??= this.#open().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #open(): Promise<void> {
    const client = new pg.Client({ ...this.#config, keepAlive: true, keepAliveInitialDelayMillis: KEEP_ALIVE_MS });
    const lost = (error = new Error('The connection has ended')) => {
      if (this.#client !== client) return;
      this.#client = undefined;
      void client.end().catch(() => {});
      if (this.#closed) return;
      this.#turned(error);
      this.#again();
    };
    client.on('error', lost).on('end', () => lost());
    client.on('notification', ({ channel, payload = '' }) => {
      for (const hear of this.#channels.get(channel) ?? []) hear(payload);
    });
    try {
      await client.connect();
      for (const channel of this.#channels.keys()) await client.query(`listen ${pg.escapeIdentifier(channel)}`);
    } catch (error) {
      await client.end().catch(() => {});
      throw error;
    }
    this.#client = client;
    this.#againMs = AGAIN_MS;
  }

  #again(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#connect().then(
        () => {
          if (this.#closed) return;
          this.#turned(undefined);
          for (const onBack of this.#back) onBack();
        },
        () => {
          this.#againMs = Math.min(this.#againMs * 2, AGAIN_MS_MOST);
          this.#again();
        },
      );
    }, this.#againMs);
  }
}
