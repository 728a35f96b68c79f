import { type Static, Type } from 'typebox';
import type { FrameIn } from '../../src/programs/frame-reader.ts';

/** Each cut by the host, with a mark. */
const GuestError = Type.Object({
  name: Type.String({ maxLength: 300 }),
  message: Type.String({ maxLength: 8_200 }),
  stack: Type.String({ maxLength: 32_800 }),
});
const Count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

/** What is looked at of each kind of frame that the host says; what they mean is said in frames.ts. */
export const HEARD = {
  ready: Type.Object({
    t: Type.Literal('ready'),
    info: Type.Object({ id: Type.String(), name: Type.String(), description: Type.String() }),
    routes: Type.Array(Type.Object({ method: Type.String(), path: Type.String() }), { maxItems: 500 }),
    hasExit: Type.Boolean(),
    language: Type.String(),
  }),
  failed: Type.Object({ t: Type.Literal('failed'), error: GuestError }),
  fault: Type.Object({
    t: Type.Literal('fault'),
    kind: Type.Union([Type.Literal('handler'), Type.Literal('uncaught'), Type.Literal('rejection')]),
    error: GuestError,
    request: Type.Union([Type.String(), Type.Null()]),
  }),
  look: Type.Object({ t: Type.Literal('look'), id: Count, handles: Type.Number(), children: Type.Number() }),
  stopped: Type.Object({
    t: Type.Literal('stopped'),
    called: Type.Boolean(),
    error: Type.Union([GuestError, Type.Null()]),
  }),
} as const;

export type Frame = FrameIn<typeof HEARD>;
export type FrameOf<Kind extends Frame['t']> = Extract<Frame, { t: Kind }>;
export type GuestError = Static<typeof GuestError>;
