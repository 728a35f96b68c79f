import { type Static, Type } from 'typebox';
import type { FrameIn } from '../../src/programs/frame-reader.ts';

const Id = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const Run = Type.Union([Id, Type.Null()]);
const Fault = Type.Object({
  kind: Type.String(),
  name: Type.String(),
  message: Type.String(),
  stack: Type.String(),
  bytes: Type.Optional(Type.Number()),
});

/** What is looked at of each kind of frame that a host says; what they mean is said in frames.ts. */
export const HEARD = {
  ready: Type.Object({
    t: Type.Literal('ready'),
    portrait: Type.Record(Type.String(), Type.Unknown()),
    tasks: Type.Array(Type.String()),
    runs: Type.Boolean(),
    language: Type.String(),
  }),
  failed: Type.Object({ t: Type.Literal('failed'), error: Fault }),
  result: Type.Object({
    t: Type.Literal('result'),
    id: Id,
    cpuMs: Type.Number(),
    listens: Type.Boolean(),
    output: Type.Optional(Type.String()),
    error: Type.Optional(Fault),
  }),
  log: Type.Object({ t: Type.Literal('log'), run: Run, level: Type.String(), text: Type.String() }),
  progress: Type.Object({ t: Type.Literal('progress'), run: Id, value: Type.Number() }),
  update: Type.Object({
    t: Type.Literal('update'),
    run: Run,
    group: Type.String(),
    event: Type.String(),
    data: Type.Unknown(),
  }),
  ask: Type.Object({
    t: Type.Literal('ask'),
    id: Id,
    run: Run,
    what: Type.Union([Type.Literal('config'), Type.Literal('configure'), Type.Literal('enqueue')]),
    settings: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    task: Type.Optional(Type.String()),
    args: Type.Optional(Type.Array(Type.Unknown())),
    kwargs: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    delayMs: Type.Optional(Type.Number()),
  }),
  look: Type.Object({ t: Type.Literal('look'), id: Id, threads: Type.Number(), children: Type.Number() }),
  stopped: Type.Object({ t: Type.Literal('stopped'), called: Type.Unknown(), error: Type.Union([Fault, Type.Null()]) }),
} as const;

export type Frame = FrameIn<typeof HEARD>;
export type FrameOf<Kind extends Frame['t']> = Extract<Frame, { t: Kind }>;
export type Fault = Static<typeof Fault>;
