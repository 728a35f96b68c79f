/** What jobs look like in answers. */
import { Type } from 'typebox';
import { JOB_STATES } from '../core/job.ts';
import { RetriesShown } from './order-schemas.ts';

export const JobParams = Type.Object({ job: Type.String({ description: 'Id of the job' }) });

const State = Type.Enum([...JOB_STATES]);
const OrNull = <S extends Parameters<typeof Type.Union>[0][number]>(schema: S) => Type.Union([schema, Type.Null()]);
const Time = Type.String({ format: 'date-time' });

const Known = {
  id: Type.String(),
  number: Type.Integer({ description: 'As clients of Stash know it, over GraphQL' }),
  state: State,
  plugin: Type.String(),
  task: OrNull(Type.String()),
  priority: Type.Integer(),
  createdAt: Time,
  startAfter: Time,
  startedAt: OrNull(Time),
  endedAt: OrNull(Time),
  keptUntil: OrNull(Time),
  progress: OrNull(Type.Number()),
  attempt: Type.Integer({ description: 'How often it has been begun' }),
  retries: RetriesShown,
  parked: OrNull(
    Type.Enum(['poison', 'nodes_lost', 'retries_exhausted'], {
      description: 'Why a dead job is not tried again by itself',
    }),
  ),
  singletonKey: OrNull(Type.String()),
  debounceKey: OrNull(Type.String()),
  cause: Type.Unknown({ description: 'The schedule, trigger, event or invocation that made it, or null' }),
  cancel: OrNull(
    Type.Object({ askedAt: Time, stopped: OrNull(Type.String({ description: 'What it took to end the run' })) }),
  ),
  node: OrNull(Type.String()),
  invocation: OrNull(Type.String()),
};

export const JobAnswer = Type.Object(
  {
    ...Known,
    position: OrNull(
      Type.Integer({ description: 'How many of your jobs are due before it, itself included, while it waits' }),
    ),
    hook: OrNull(Type.String({ description: 'The hook of the plugin that it runs, where it is one' })),
    chain: Type.Array(Type.Object({ plugin: Type.String(), trigger: Type.String() }), {
      description: 'Hooks and operations that led to it, itself included',
    }),
    args: Type.Unknown(),
    limits: Type.Unknown(),
    history: Type.Array(Type.Unknown(), { description: 'Tries that were not its end' }),
    usage: Type.Optional(Type.Unknown()),
    timingsMs: Type.Optional(Type.Unknown()),
    output: Type.Optional(Type.Unknown({ description: 'What the plugin answered' })),
    problem: Type.Optional(Type.Unknown({ description: 'Why it failed, as a problem document' })),
  },
  { description: 'The job' },
);

export const JobList = Type.Object(
  {
    jobs: Type.Array(Type.Object({ ...Known, code: OrNull(Type.String()) })),
    next: OrNull(Type.String({ description: 'The value of `before` for the next page' })),
  },
  { description: 'Jobs, newest first' },
);
