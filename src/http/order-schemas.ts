/** What is asked of jobs, schedules and triggers alike: what to run and how. */
import { type Static, type TInteger, Type } from 'typebox';
import type { JobRequest, Retries } from '../core/job.ts';
import type { LimitName, Limits } from '../core/limits.ts';

const atLeast = (minimum: number) => Type.Integer({ minimum });

export const LowerLimits = {
  wallMs: atLeast(1),
  cpuMs: atLeast(1),
  bootMs: atLeast(1),
  heapMb: atLeast(8),
  residentMb: atLeast(16),
  outputBytes: atLeast(1),
  logBytes: atLeast(0),
  logLines: atLeast(0),
  hostCalls: atLeast(0),
  hostCallsAtOnce: atLeast(1),
} as const satisfies Record<LimitName, TInteger>;

/** The database keeps no NUL. */
const WITHOUT_NUL = '^[^\\u0000]*$';

export const Name = Type.String({ minLength: 1, maxLength: 500, pattern: WITHOUT_NUL });

/** An id that callers choose. */
export const OrderId = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$' });

export const What = {
  task: Type.Optional(
    Type.String({
      pattern: WITHOUT_NUL,
      description: 'The task to run, as its manifest names it; without it this is an operation',
    }),
  ),
  // `args` has no schema for its keys on purpose: they are the plugin's own, and walking them would be paid by every call.
  args: Type.Unsafe<Record<string, unknown>>({
    type: 'object',
    additionalProperties: true,
    default: {},
    description: "Arguments for the plugin; for a task they count over the task's own defaults",
  }),
  limits: Type.Partial(Type.Object(LowerLimits), {
    additionalProperties: false,
    description: 'Lower limits for this one call; what is higher than configured has no effect',
  }),
} as const;

const DAY_MS = 86_400_000;

export const How = {
  priority: Type.Optional(Type.Integer({ minimum: -100, maximum: 100, default: 0, description: 'Higher first' })),
  retries: Type.Optional(
    Type.Object(
      {
        most: Type.Integer({ minimum: 0, maximum: 20, description: 'How often a failure that may be retried is' }),
        delayMs: Type.Optional(Type.Integer({ minimum: 0, maximum: DAY_MS, default: 1_000 })),
        delayMsMost: Type.Optional(Type.Integer({ minimum: 0, maximum: DAY_MS, default: 3_600_000 })),
      },
      {
        additionalProperties: false,
        description: 'The first retry comes after delayMs, each further one after twice that',
      },
    ),
  ),
} as const;

export const RetriesShown = Type.Object({
  most: Type.Integer(),
  delayMs: Type.Integer(),
  delayMsMost: Type.Integer(),
});

const Wanted = Type.Object({ plugin: Name, ...What, ...How }, { required: ['plugin'] });

type Wanted = Omit<Static<typeof Wanted>, 'limits'> & { limits?: Partial<Limits> };

export function requestOf(
  { plugin, task, args, limits }: Omit<Wanted, 'priority' | 'retries'>,
  traceparent?: string,
): JobRequest {
  return {
    plugin,
    task: task ?? null,
    args,
    ...(limits === undefined ? {} : { limits }),
    ...(traceparent === undefined ? {} : { traceparent }),
  };
}

export function retriesOf({ retries }: { retries?: Wanted['retries'] | undefined }): Retries {
  const { most = 0, delayMs = 1_000, delayMsMost = 3_600_000 } = retries ?? {};
  return { most, delayMs, delayMsMost: Math.max(delayMs, delayMsMost) };
}
