import { type Static, Type } from 'typebox';
import { Value } from 'typebox/value';

/**
 * Cuts what a resident says into frames, and believes nothing of it: it may have been written by the plugin. Whatever is no
 * frame is told as a violation, after which nothing more is read.
 */
export class FrameReader {
  readonly #most: () => number;
  readonly #told: Told;
  /** What has come of a frame, and room for more of it. */
  #begun: Buffer = Buffer.alloc(0);
  #length = 0;
  #state: 'open' | 'closed' = 'open';

  /** `most` is how long a frame may be now, in bytes. */
  constructor(most: () => number, told: Told) {
    this.#most = most;
    this.#told = told;
  }

  push(chunk: Buffer): void {
    let from = 0;
    while (this.#state === 'open') {
      const end = chunk.indexOf(NEWLINE, from);
      const part = chunk.subarray(from, end < 0 ? chunk.length : end);
      if (this.#length + part.length > this.#most()) return this.#refuse('a frame longer than any may be');
      // The usual case, a frame that lies in one chunk, is read where it lies.
      if (end >= 0 && this.#length === 0) this.#timed(part);
      else {
        this.#keep(part);
        if (end < 0) return;
        const line = this.#begun.subarray(0, this.#length);
        this.#length = 0;
        this.#timed(line);
      }
      from = end + 1;
    }
  }

  /** However small the pieces are in which it comes, there is one buffer. */
  #keep(part: Buffer): void {
    const length = this.#length + part.length;
    if (this.#begun.length < length) {
      const larger = Buffer.allocUnsafe(Math.max(LEAST, 2 * length));
      this.#begun.copy(larger, 0, 0, this.#length);
      this.#begun = larger;
    }
    part.copy(this.#begun, this.#length);
    this.#length = length;
  }

  #timed(line: Buffer): void {
    const before = performance.now();
    this.#read(line);
    this.#told.onRead(performance.now() - before);
    if (this.#length === 0 && this.#begun.length > MOST_KEPT) this.#begun = Buffer.alloc(0);
  }

  #read(line: Buffer): void {
    let value: unknown;
    try {
      value = JSON.parse(line.toString('utf8'));
    } catch {
      return this.#refuse('something that is no JSON');
    }
    const kind = typeof value === 'object' && value !== null && 't' in value ? value.t : undefined;
    const schema = typeof kind === 'string' && Object.hasOwn(FRAMES, kind) ? FRAMES[kind as keyof typeof FRAMES] : null;
    if (schema === null || !Value.Check(schema, value)) return this.#refuse('a frame that is none');
    this.#told.onFrame(value as Frame, line.length);
  }

  #refuse(what: string): void {
    this.#state = 'closed';
    this.#begun = Buffer.alloc(0);
    this.#told.onViolation(what);
  }
}

const NEWLINE = 10;
const LEAST = 1_024;
const MOST_KEPT = 65_536;

type Told = {
  onFrame(frame: Frame, bytes: number): void;
  onViolation(what: string): void;
  /** How long it took to read a frame, and to do what it says; in ms. */
  onRead(ms: number): void;
};

const Id = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const Run = Type.Union([Id, Type.Null()]);
const Fault = Type.Object({
  kind: Type.String(),
  name: Type.String(),
  message: Type.String(),
  stack: Type.String(),
  bytes: Type.Optional(Type.Number()),
});

/** What is looked at of each kind of frame; what they mean is said in frames.ts. */
const FRAMES = {
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

export type Frame = { [Kind in keyof typeof FRAMES]: Static<(typeof FRAMES)[Kind]> }[keyof typeof FRAMES];
export type FrameOf<Kind extends Frame['t']> = Extract<Frame, { t: Kind }>;
export type Fault = Static<typeof Fault>;
