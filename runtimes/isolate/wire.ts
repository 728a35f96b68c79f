/**
 * Everything that the front end (host) and an executor (guest) say to each other, in both directions.
 *
 * A frame on the wire is: u32 size of what follows, u8 kind, u32 id, u32 x, u32 y, u32 size of the head, the head
 * (JSON, empty for none), the body (bytes). All numbers are big-endian. `id` names an invocation, or a program where
 * it says so; `x` and `y` are two small numbers, so that the frames of the hot path need no head.
 */
import type { Writable } from 'node:stream';

export const Kind = {
  // ── host → guest ──────────────────────────────────────────────────────────────────────────────────────────────
  /** A program. id: program. head: LoadHead. body: source text, then cached data. */
  load: 1,
  /** The program is not needed any more. id: program. */
  unload: 2,
  /** Run on the main thread, for a few ms at most. x: program. y: 1 in a frozen realm, 0 in a fresh context. body: input. */
  brief: 3,
  /** Run on a thread of its own until it ends or is stopped. x: program. head: LongHead. body: input. */
  long: 4,
  /** End a long run now. */
  stop: 5,
  /** The answer to a host call. x: number of the call. body: JSON text. */
  answer: 6,
  /** Are you there? */
  ping: 7,

  // ── guest → host ──────────────────────────────────────────────────────────────────────────────────────────────
  /** The executor is up. */
  ready: 20,
  /** A run ended well. x: cpu µs. y: memory in KB. head: LogHead, empty for no logs. body: output (JSON text). */
  done: 21,
  /** A brief run does not count and had no effect; run it in the long way. body: why. */
  unfit: 22,
  /** A long run ended badly. x: cpu µs. y: memory in KB. head: FailedHead. body: output (JSON text), empty for none. */
  failed: 23,
  /** What a long run has logged since the last time. head: LogHead. */
  logs: 24,
  /** A host call. x: number of the call. body: GraphQL request (JSON text). */
  call: 25,
  /** A long run broke a limit and is being ended; if no `failed` follows soon, the executor cannot end it. head: FailedHead. */
  condemned: 26,
  /** Compiled code to hand to the next executor of the same tenant. id: program. body: cached data. */
  compiled: 27,
  /** Answer to ping. */
  pong: 28,
  /** A long run has its code ready and starts. x: µs it took. */
  started: 29,
} as const;

export type Kind = (typeof Kind)[keyof typeof Kind];

export type LoadHead = {
  /** Shown in the plugin's stack traces. */
  filename: string;
  sourceBytes: number;
  heapMb: number;
  logBytes: number;
  logLines: number;
  outputBytes: number;
  /** The longest that a run may hold the main thread. */
  sliceMs: number;
};

export type LongHead = {
  wallMs: number;
  cpuMs: number;
  heapMb: number;
  outputBytes: number;
  logBytes: number;
  logLines: number;
  hostCalls: number;
};

export type LogHead = {
  /** Level letter, ms since the start of the run, text; three entries a line. Capitals come from `console`. */
  lines?: (string | number)[];
  dropped?: number;
  progress?: number;
};

export type FailedHead = LogHead & {
  code:
    | 'plugin_error'
    | 'plugin_boot_failed'
    | 'plugin_cpu_exceeded'
    | 'plugin_timeout'
    | 'plugin_memory_exceeded'
    | 'plugin_resource_exceeded'
    | 'plugin_invalid_output'
    | 'plugin_output_too_large'
    | 'stopped'
    | 'internal';
  message: string;
  error?: { name: string; message: string; stack?: string };
  limit?: { name: string; allowed: number; observed: number; unit: 'ms' | 'bytes' | 'count' };
  rung?: 'interrupted' | 'disposed';
};

export type Frame = { kind: Kind; id: number; x: number; y: number; head: unknown; body: Buffer };

const FIXED = 4 + 1 + 4 + 4 + 4 + 4;

/** No frame may be larger; one that claims to be is a broken or a hostile peer. */
export const FRAME_BYTES_MAX = 128 * 1024 * 1024;

const SPARE_BYTES = 4096;
const SPARE_BYTES_MOST = 256 * 1024;

/** Collects frames, so that many share a write. */
export class FrameWriter {
  #buffer = Buffer.allocUnsafeSlow(SPARE_BYTES);
  #spare: Buffer<ArrayBuffer> | undefined;
  #length = 0;

  /** `head` is JSON text, '' for none. */
  add(kind: Kind, id: number, x: number, y: number, head: string, body: string | Uint8Array): void {
    // A string takes at most three bytes of UTF-8 a unit; the true size is known after it was written.
    const most = FIXED + head.length * 3 + (typeof body === 'string' ? body.length * 3 : body.length);
    this.#reserve(most);
    const buffer = this.#buffer;
    const start = this.#length;
    let at = start + FIXED;
    const headBytes = head === '' ? 0 : buffer.write(head, at, 'utf8');
    at += headBytes;
    if (typeof body === 'string') {
      at += buffer.write(body, at, 'utf8');
    } else {
      buffer.set(body, at);
      at += body.length;
    }
    buffer.writeUInt32BE(at - start - 4, start);
    buffer[start + 4] = kind;
    buffer.writeUInt32BE(id, start + 5);
    buffer.writeUInt32BE(Math.min(x, 0xffffffff), start + 9);
    buffer.writeUInt32BE(Math.min(y, 0xffffffff), start + 13);
    buffer.writeUInt32BE(headBytes, start + 17);
    this.#length = at;
  }

  /** Writes all frames so far to a channel. A buffer that has been written is used again. */
  flush(channel: Writable): void {
    if (this.#length === 0) return;
    const used = this.#buffer;
    const frames = used.subarray(0, this.#length);
    this.#buffer = this.#spare ?? Buffer.allocUnsafeSlow(SPARE_BYTES);
    this.#spare = undefined;
    this.#length = 0;
    channel.write(frames, () => {
      if (used.length <= SPARE_BYTES_MOST) this.#spare = used;
    });
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

/** Cuts a stream of chunks into frames. Bodies are views into the chunk: use them before the next turn, or copy. */
export class FrameReader {
  #rest: Buffer[] = [];
  #restBytes = 0;
  #needed = 4;

  /** Throws when the peer does not keep to the wire. */
  read(chunk: Buffer, onFrame: (frame: Frame) => void): void {
    let bytes = chunk;
    if (this.#restBytes > 0) {
      this.#rest.push(chunk);
      this.#restBytes += chunk.length;
      if (this.#restBytes < this.#needed) return;
      bytes = Buffer.concat(this.#rest, this.#restBytes);
      this.#rest = [];
      this.#restBytes = 0;
    }
    let at = 0;
    this.#needed = 4;
    while (bytes.length - at >= 4) {
      const size = bytes.readUInt32BE(at);
      if (size < FIXED - 4 || size > FRAME_BYTES_MAX) throw new Error(`a frame of ${size} bytes`);
      if (bytes.length - at < size + 4) {
        this.#needed = size + 4;
        break;
      }
      onFrame(frameAt(bytes, at, size));
      at += size + 4;
    }
    if (at < bytes.length) {
      this.#rest.push(bytes.subarray(at));
      this.#restBytes = bytes.length - at;
    }
  }
}

function frameAt(bytes: Buffer, at: number, size: number): Frame {
  const headBytes = bytes.readUInt32BE(at + 17);
  const headAt = at + FIXED;
  if (headBytes > size + 4 - FIXED) throw new Error('a head larger than its frame');
  return {
    kind: bytes[at + 4] as Kind,
    id: bytes.readUInt32BE(at + 5),
    x: bytes.readUInt32BE(at + 9),
    y: bytes.readUInt32BE(at + 13),
    head: headBytes === 0 ? undefined : JSON.parse(bytes.toString('utf8', headAt, headAt + headBytes)),
    body: bytes.subarray(headAt + headBytes, at + 4 + size),
  };
}
