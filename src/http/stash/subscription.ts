import type { JobChange } from '../../engine/job-feed.ts';
import type { PluginLog } from '../../engine/plugin-logs.ts';
import type { Tenancy } from '../../engine/tenancy.ts';
import type { Asking, StashParts } from './asking.ts';
import { Inbox, type Letterbox } from './inbox.ts';
import { jobView } from './job-view.ts';
import { logView } from './query.ts';

/** What whoever is slow has waiting; the rest they do not get. */
const CHANGES_MOST = 1_000;
const BATCHES_MOST = 10;
const LINES_MOST = 100;
const BATCH_MS = 1_000;

export function subscriptions({ feed, logs, tenancies }: Pick<StashParts, 'feed' | 'logs' | 'tenancies'>) {
  /** What is heard under the name of a tenant that is gone is somebody else's. */
  const whileThere =
    <T>(tenancy: Tenancy, { put, end }: Letterbox<T>) =>
    (item: T) =>
      tenancies.has(tenancy) ? put(item) : end();

  return {
    jobsSubscribe(_: unknown, { tenancy }: Asking) {
      return new Inbox<{ jobsSubscribe: ReturnType<typeof updateOf> }>((box) => {
        const put = whileThere(tenancy, box);
        return feed.listen(tenancy.id, (change) => put({ jobsSubscribe: updateOf(change) }));
      }, CHANGES_MOST);
    },

    loggingSubscribe(_: unknown, { tenancy }: Asking) {
      return new Inbox<{ loggingSubscribe: ReturnType<typeof logView>[] }>((box) => {
        const put = whileThere(tenancy, box);
        const scope = new DisposableStack();
        const batch = scope.use(new Batch((lines) => put({ loggingSubscribe: lines.map(logView) })));
        scope.use(logs.hear(tenancy, (lines) => batch.add(lines)));
        return scope;
      }, BATCHES_MOST);
    },
  };
}

const TYPES = { added: 'ADD', changed: 'UPDATE', ended: 'REMOVE' } as const satisfies Record<JobChange['what'], string>;

function updateOf({ what, job }: JobChange) {
  return { type: TYPES[what], job: jobView(job) };
}

/** Lines of one second together. */
class Batch implements Disposable {
  readonly #send: (lines: readonly PluginLog[]) => void;
  #lines: PluginLog[] = [];
  #timer: NodeJS.Timeout | undefined;
  #sentAt = Number.NEGATIVE_INFINITY;

  constructor(send: (lines: readonly PluginLog[]) => void) {
    this.#send = send;
  }

  add(lines: readonly PluginLog[]): void {
    this.#lines.push(...lines.slice(0, LINES_MOST - this.#lines.length));
    this.#timer ??= setTimeout(() => this.#flush(), Math.max(0, this.#sentAt + BATCH_MS - performance.now())).unref();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #flush(): void {
    this.#timer = undefined;
    this.#sentAt = performance.now();
    this.#send(this.#lines.splice(0));
  }
}
