/**
 * Everything that can go wrong, in one table. The same Failure is thrown when we refuse a request, returned
 * inside an Outcome when a run goes wrong, and carried as `signal.reason` when we stop one. So the first cause
 * wins without anyone keeping score.
 *
 * `blame` says who must act. `health` says whether it counts against the plugin, `again` whether a job may be tried
 * once more. `hint` is what to do next.
 */
const KINDS = {
  invalid_request: {
    blame: 'caller',
    health: false,
    again: 'never',
    hint: 'Compare the request with the API reference at /docs.',
  },
  unauthenticated: {
    blame: 'caller',
    health: false,
    again: 'never',
    hint: 'Send the token as "Authorization: Bearer …".',
  },
  forbidden: {
    blame: 'caller',
    health: false,
    again: 'never',
    hint: 'Do as the message says, or use a token that allows it; access without a token is for this machine only.',
  },
  not_found: {
    blame: 'caller',
    health: false,
    again: 'never',
    hint: 'The list beside it (of plugins, jobs, tenants …) has what there is; /docs has the paths.',
  },
  conflict: { blame: 'caller', health: false, again: 'never', hint: 'Look at the present state before asking again.' },
  idempotency_key_reused: {
    blame: 'caller',
    health: false,
    again: 'never',
    hint: 'Use a new Idempotency-Key for another request, and the same one only to ask for the same again.',
  },
  plugin_disabled: { blame: 'caller', health: false, again: 'never', hint: 'Enable it first, as the message says.' },
  gone: { blame: 'caller', health: false, again: 'never', hint: 'It was kept for a limited time.' },
  payload_too_large: {
    blame: 'caller',
    health: false,
    again: 'never',
    hint: 'Send less, or raise what "limit" names where that is a setting, e.g. requestBytes (ISOPOD_REQUEST_BYTES).',
  },
  package_rejected: {
    blame: 'caller',
    health: false,
    again: 'never',
    hint: 'Mend what is named, and send the archive again.',
  },
  manifest_rejected: { blame: 'caller', health: false, again: 'never', hint: 'Mend the line that is named.' },
  rate_limited: { blame: 'caller', health: false, again: 'always', hint: 'Slow down and come back after Retry-After.' },
  concurrency_limited: {
    blame: 'caller',
    health: false,
    again: 'always',
    hint: 'Run fewer at once, or come back after Retry-After.',
  },
  queue_full: {
    blame: 'caller',
    health: false,
    again: 'always',
    hint: 'Too many are waiting already; come back after Retry-After.',
  },
  quota_exceeded: { blame: 'caller', health: false, again: 'never', hint: 'The quota named in "limit" is used up.' },
  cancelled: { blame: 'caller', health: false, again: 'never', hint: 'Nothing to do: somebody asked for it to stop.' },
  plugin_error: {
    blame: 'plugin',
    health: true,
    again: 'asked',
    hint: 'Read pluginError: these are the words of the plugin itself.',
  },
  plugin_invalid_output: {
    blame: 'plugin',
    health: true,
    again: 'asked',
    hint: 'The answer of the plugin is not what its protocol allows.',
  },
  plugin_output_too_large: {
    blame: 'plugin',
    health: true,
    again: 'never',
    hint: 'Return less, or raise outputBytes.',
  },
  plugin_boot_failed: {
    blame: 'plugin',
    health: true,
    again: 'never',
    hint: 'The plugin could not start: mend its files.',
  },
  plugin_memory_exceeded: {
    blame: 'plugin',
    health: true,
    again: 'asked',
    hint: 'Use less memory, or raise the limit named in "limit".',
  },
  plugin_resource_exceeded: {
    blame: 'plugin',
    health: true,
    again: 'asked',
    hint: 'Use less of what "limit" names, or raise it.',
  },
  plugin_crashed: {
    blame: 'plugin',
    health: true,
    again: 'asked',
    hint: 'Its process has ended without being told to; look at its logs.',
  },
  plugin_cpu_exceeded: { blame: 'plugin', health: true, again: 'asked', hint: 'Compute less, or raise cpuMs.' },
  plugin_timeout: {
    blame: 'plugin',
    health: true,
    again: 'asked',
    hint: 'Finish sooner, or raise the limit named in "limit".',
  },
  executor_lost: {
    blame: 'host',
    health: false,
    again: 'always',
    hint: 'It ended through no fault of its own; ask again.',
  },
  overloaded: { blame: 'host', health: false, again: 'always', hint: 'Come back after Retry-After.' },
  queue_timeout: {
    blame: 'host',
    health: false,
    again: 'always',
    hint: 'It waited too long for a place; come back after Retry-After.',
  },
  draining: { blame: 'host', health: false, again: 'always', hint: 'The service is shutting down; ask its successor.' },
  plugin_quarantined: {
    blame: 'plugin',
    health: false,
    again: 'always',
    hint: 'It keeps breaking what it runs in; wait until it is tried again, or mend it and reload.',
  },
  sandbox_unavailable: {
    blame: 'host',
    health: false,
    again: 'never',
    hint: 'A required layer of confinement is missing on this machine.',
  },
  application_error: {
    blame: 'application',
    health: false,
    again: 'asked',
    hint: 'See to the application of this tenant: whether it runs, and its address and credential.',
  },
  source_failed: {
    blame: 'caller',
    health: false,
    again: 'asked',
    hint: 'See whether the address is right and its server answers; then ask again.',
  },
  hook_loop: {
    blame: 'plugin',
    health: true,
    again: 'never',
    hint: 'Hooks call each other in a circle: the chain is named.',
  },
  internal: {
    blame: 'host',
    health: false,
    again: 'asked',
    hint: 'This is a bug of ours: the log has the whole story under the invocation id.',
  },
} as const satisfies Record<string, Kind>;

/** Whose fault it is, and so who must act. */
export const BLAMED = ['caller', 'plugin', 'application', 'host'] as const;
export type Blamed = (typeof BLAMED)[number];

type Kind = { blame: Blamed; health: boolean; again: Again; hint: string };

/** Whether a job that failed so is worth another try: without being asked, only where its sender allows it, or never. */
export type Again = 'always' | 'asked' | 'never';

export type FailureCode = keyof typeof KINDS;

export const FAILURE_CODES = Object.keys(KINDS) as FailureCode[];

/** The limit that was hit: what was allowed and what was seen, both in `unit`. */
export type LimitHit = { name: string; allowed: number; observed: number; unit: 'ms' | 'bytes' | 'count' };

/** It is no archive that we can read, or has nothing, too many files, too large a one, too much in all, a bad name, no plugin. */
export type PackageProblem = 'zip' | 'empty' | 'files' | 'file bytes' | 'bytes' | 'path' | 'no plugin';

/** The plugin's own words about its error. Data, never part of a message of ours. Already capped. */
export type PluginError = { name: string; message: string; stack?: string };

/** How far up the watchdog ladder we had to climb to end a run; see runtimes/isolate/runtime.ts. */
export type Rung = 'cooperative' | 'interrupted' | 'disposed' | 'terminated' | 'killed';

export type FailureDetails = {
  /** What only we may see. It goes to the log, never to the caller. */
  cause?: unknown;
  limit?: LimitHit;
  pluginError?: PluginError;
  /** JSON text of the output that came with the failure, e.g. of a plugin that answers an error and an output. */
  output?: string;
  rung?: Rung;
  /** Nobody waits for it any more, and that is all: where others would end with what is stopped, it may go on. */
  mayGoOn?: true;
  /** True only where the plugin provably did not start, or had no effect outside itself. */
  retryable?: boolean;
  retryAfterMs?: number;
  /** What is wrong with an archive, of `package_rejected`. */
  rejection?: PackageProblem;
  /** Where in the request or in a file, e.g. JSON pointers. */
  where?: readonly { at: string; problem: string }[];
};

export class Failure extends Error {
  override readonly name = 'Failure';
  readonly code: FailureCode;
  readonly details: FailureDetails;

  /** `message` is shown to the caller; what only we may see goes in `details.cause`. */
  constructor(code: FailureCode, message: string, details: FailureDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.details = details;
  }

  get blame(): Blamed {
    return KINDS[this.code].blame;
  }

  get hint(): string {
    return KINDS[this.code].hint;
  }

  /** What the plugin itself says is wrong, in the form that Stash has it; undefined where it says nothing. Data. */
  get ownWords(): string | undefined {
    const { pluginError } = this.details;
    if (this.code !== 'plugin_error' || pluginError === undefined) return undefined;
    const { name, message } = pluginError;
    if (name === 'Error') return message;
    // Beside how a program has ended stands what it logged last.
    return name === this.message ? name : `${name}: ${message}`;
  }

  get countsAgainstHealth(): boolean {
    return KINDS[this.code].health;
  }

  /** Whether a job that failed so may be run again. What may have had an effect is never repeated unasked. */
  get again(): Again {
    const { again } = KINDS[this.code];
    return again === 'always' && this.details.retryable === false ? 'asked' : again;
  }

  /** The same failure with more known about it, e.g. which rung of the ladder ended the run. */
  with(details: FailureDetails): Failure {
    return new Failure(this.code, this.message, { ...this.details, ...details });
  }

  /** Anything that is not a Failure is a bug of ours. */
  static from(error: unknown): Failure {
    return error instanceof Failure
      ? error
      : new Failure('internal', 'Something went wrong on our side', { cause: error });
  }
}
