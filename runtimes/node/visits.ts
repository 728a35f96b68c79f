import { Failure } from '../../src/core/failure.ts';
import type { Upstream, Visit, Visiting, Visitor } from '../../src/core/serving.ts';
import { userDirectories } from './directories.ts';
import { pluginErrorOf } from './endings.ts';
import { type GuestUser, HEADERS } from './frames.ts';
import type { FrameOf } from './heard.ts';

/** The requests that are in one resident, and what it has done wrong at which of them. */
export class Visits {
  readonly #open = new Map<string, OneVisit>();
  readonly #dataRoot: string;
  /** What is said of visitors, who come again. */
  readonly #said = new Map<string, string>();

  constructor(dataRoot: string) {
    this.#dataRoot = dataRoot;
  }

  get size(): number {
    return this.#open.size;
  }

  enter({ id, visitor }: Visiting, upstream: Upstream): Visit {
    const headers = { [HEADERS.request]: id, [HEADERS.user]: this.#wordsFor(visitor) };
    const visit = new OneVisit(upstream, headers, () => this.#open.delete(id));
    this.#open.set(id, visit);
    return visit;
  }

  /** Whether there is such a request still. */
  failed({ request, kind, error }: FrameOf<'fault'>): boolean {
    const visit = request === null ? undefined : this.#open.get(request);
    visit?.fail(new Failure('plugin_error', FAULTS[kind], { pluginError: pluginErrorOf(error) }));
    return visit !== undefined;
  }

  #wordsFor(visitor: Visitor): string {
    const key = JSON.stringify(visitor);
    const known = this.#said.get(key);
    if (known !== undefined) return known;
    const user: GuestUser = { profile: visitor, directories: userDirectories(this.#dataRoot, visitor.handle) };
    const words = Buffer.from(JSON.stringify(user)).toString('base64url');
    if (this.#said.size >= VISITORS_KNOWN) this.#said.clear();
    this.#said.set(key, words);
    return words;
  }
}

class OneVisit implements Visit {
  readonly upstream: Upstream;
  readonly headers: Readonly<Record<string, string>>;
  readonly #leave: () => void;
  #failure: Failure | null = null;

  constructor(upstream: Upstream, headers: Readonly<Record<string, string>>, leave: () => void) {
    this.upstream = upstream;
    this.headers = headers;
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

const VISITORS_KNOWN = 200;

const FAULTS = {
  handler: 'A handler of the plugin failed at this request',
  uncaught: 'The plugin threw an error at this request that it did not catch',
  rejection: 'The plugin left a promise of this request to itself, which was rejected',
} as const;
