/** What events are sent as, and what is answered. */
import { type Static, Type } from 'typebox';
import { FIELDS_MOST } from '../core/hook-policy.ts';
import { CloudEventBody } from './cloud-events.ts';
import { LowerLimits } from './order-schemas.ts';
import { OrNull } from './schemas.ts';

/** No control characters, and no half of a character: it is told to people. */
const word = { minLength: 1, maxLength: 200, pattern: '^[^\\p{Cc}\\p{Cs}]+$' } as const;

const Trigger = Type.String({ ...word, description: 'The trigger, e.g. Scene.Update.Post' });

const CloudType = Type.String({
  ...word,
  description: 'The trigger, or a name of your own that ends in one of Stash, e.g. org.example.Scene.Update.Post',
});

const Told = {
  id: Type.Optional(
    Type.Union(
      [
        Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
        Type.String({ pattern: '^[0-9]{1,15}$' }),
        Type.Null(),
      ],
      { description: 'The number of the object, also as GraphQL writes it; null for none' },
    ),
  ),
  input: Type.Optional(Type.Unknown({ description: 'What the application was asked to do, in its own form' })),
  inputFields: Type.Optional(
    Type.Array(Type.String({ maxLength: 500 }), {
      maxItems: FIELDS_MOST,
      description: 'The names of what was sent in it, where only that was changed',
    }),
  ),
};

export const EventBody = Type.Object(
  {
    type: Trigger,
    ...Told,
    limits: Type.Optional(
      Type.Partial(Type.Object(LowerLimits), {
        additionalProperties: false,
        description: 'Lower limits for each hook',
      }),
    ),
  },
  {
    additionalProperties: false,
    description: 'An event in our own form; or the data of a CloudEvent, with its attributes as headers ce-*',
  },
);

export const StructuredBody = CloudEventBody(CloudType, Type.Object(Told, { additionalProperties: false }));

export type EventBody = Static<typeof EventBody>;
export type StructuredBody = Static<typeof StructuredBody>;

const Text = Type.String();
const Link = Type.Object({ plugin: Text, trigger: Text });

const Event = Type.Object({
  id: Text,
  type: Text,
  object: OrNull(Type.Integer()),
  cause: OrNull(Type.Object({ plugin: Text, invocation: Text }), {
    description: 'The invocation of a plugin that has led to it; null for one from outside',
  }),
  root: Type.String({ description: 'The invocation or the event that all of it began with' }),
  chain: Type.Array(Link, { description: 'The hooks and operations that led to it, one behind the other' }),
});

const HookRun = Type.Object({
  plugin: Text,
  hook: Text,
  status: Type.Enum(['ran', 'failed', 'skipped', 'queued']),
  invocation: Type.Optional(Text),
  ms: Type.Optional(Type.Number()),
  output: Type.Optional(Type.Unknown({ description: 'What the plugin answered' })),
  outputOmitted: Type.Optional(Type.Boolean({ description: 'What all of them answered was too large for one answer' })),
  problem: Type.Optional(Type.Unknown({ description: 'Why it failed, as a problem document' })),
  reason: Type.Optional(Type.String({ description: 'Why it was skipped' })),
  job: Type.Optional(Text),
  location: Type.Optional(Text),
  state: Type.Optional(Type.String({ description: 'Of the job' })),
});

const Note = Type.Optional(Type.String({ description: 'Why there are no hooks, where there are none' }));

export const EventAnswer = Type.Object(
  {
    event: Event,
    hooks: Type.Array(HookRun, { description: 'In the order in which they were, or are to be, run' }),
    omitted: Type.Integer({ description: 'Hooks that were more than one event may set off' }),
    note: Note,
  },
  { description: 'What came of each hook' },
);

export const EventAccepted = Type.Object(
  {
    event: Event,
    hooks: Type.Optional(Type.Array(HookRun)),
    omitted: Type.Optional(Type.Integer()),
    note: Note,
    held: Type.Optional(
      Type.Object({
        until: OrNull(Type.String({ format: 'date-time' }), { description: 'Null where somebody has to resume first' }),
        why: Type.Enum(['paused', 'batch', 'debounce']),
      }),
    ),
  },
  { description: 'Its hooks have become jobs; or it is kept, until they do' },
);
