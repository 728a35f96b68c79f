import { Failure } from '../../src/core/failure.ts';
import type { Upstream, Visit, Visiting } from '../../src/core/serving.ts';
import { userDirectories } from './directories.ts';
import { pluginErrorOf } from './endings.ts';
import { type GuestUser, HEADERS } from './frames.ts';
import type { FrameOf } from './heard.ts';

/** The requests that are in one resident, and what it has done wrong at which of them. */
export class Visits {
  readonly #open = new Map<string, OneVisit>();

  get size(): number {
    return this.#open.size;
  }

  enter(visiting: Visiting, upstream: Upstream, dataRoot: string): Visit {
    const visit = new OneVisit(visiting, upstream, dataRoot, () => this.#open.delete(visiting.id));
    this.#open.set(visiting.id, visit);
    return visit;
  }

  /** Whether there is such a request still. */
  failed({ request, kind, error }: FrameOf<'fault'>): boolean {
    const visit = request === null ? undefined : this.#open.get(request);
    visit?.fail(new Failure('plugin_error', FAULTS[kind], { pluginError: pluginErrorOf(error) }));
    return visit !== undefined;
  }
}

class OneVisit implements Visit {
  readonly upstream: Upstream;
  readonly headers: Readonly<Record<string, string>>;
  readonly #leave: () => void;
  #failure: Failure | null = null;

  constructor({ id, visitor }: Visiting, upstream: Upstream, dataRoot: string, leave: () => void) {
    const user: GuestUser = { profile: visitor, directories: userDirectories(dataRoot, visitor.handle) };
    this.upstream = upstream;
    this.headers = {
      [HEADERS.request]: id,
      [HEADERS.user]: Buffer.from(JSON.stringify(user)).toString('base64url'),
    };
    this.#leave = leave;
  }

  get failure(): Failure | null {
    return this.#failure;
  }

  /** Of several, the first. */
  fail(failure: Failure): void {
    this.#failure ??= failure;
  }

  verdictOf(headers: Readonly<Record<string, string | string[] | undefined>>): 'answered' | 'unrouted' | 'fault' {
    const verdict = headers[HEADERS.verdict];
    return verdict === 'unrouted' || verdict === 'fault' ? verdict : 'answered';
  }

  [Symbol.dispose](): void {
    this.#leave();
  }
}

const FAULTS = {
  handler: 'A handler of the plugin failed at this request',
  uncaught: 'The plugin threw an error at this request that it did not catch',
  rejection: 'The plugin left a promise of this request to itself, which was rejected',
} as const;
