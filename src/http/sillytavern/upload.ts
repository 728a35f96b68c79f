import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { Failure } from '../../core/failure.ts';
import { Gathering } from '../../core/gathering.ts';

const AHEAD_BYTES = 65_536;
/** That its sender has gone is only seen by who reads all that it has sent: so much is looked at. */
const LOOK_BYTES = 262_144;
/** What waits takes some hundred bytes of ours in each piece, so that small ones wait as one. */
const SMALL_BYTES = 512;
const GATHERED_BYTES = 65_536;

/**
 * The body of a request on its way to a plugin. It may be destroyed at any time, which leaves the connection that it comes
 * from alone: what else comes of it goes nowhere, so that its sender gets to read our answer. How long that may take is
 * said for all requests (`requestMs`), and so nobody holds a place by sending too slowly.
 */
export class Upload extends Readable {
  readonly #from: IncomingMessage;
  readonly #most: number;
  #taken = 0;
  #ahead = AHEAD_BYTES;
  /** Small pieces behind what waits to be read. */
  readonly #gathered = new Gathering(GATHERED_BYTES);

  constructor(from: IncomingMessage, most: number) {
    super({ highWaterMark: AHEAD_BYTES });
    this.#from = from;
    this.#most = most;
    // Whoever reads may have let go of it.
    this.on('error', () => {});
    from.pause();
    from.on('data', this.#take).once('end', this.#end).once('close', this.#close).on('error', this.#close);
  }

  /** Bytes that the plugin has taken. */
  get given(): number {
    return this.#taken - this.#waiting;
  }

  /** Looks whether its sender is still there, where nothing has been read of it for long. */
  look(): void {
    this.#ahead = LOOK_BYTES;
    if (this.#waiting < LOOK_BYTES) this.#from.resume();
  }

  /** Whoever reads gets to what was gathered, which is only where something waits to be read: so they come. */
  override read(size?: number): Buffer | null {
    if (size !== 0) this.#pushGathered();
    return super.read(size);
  }

  override _read(): void {
    this.#ahead = AHEAD_BYTES;
    this.#from.resume();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const from = this.#from;
    from.off('data', this.#take).off('end', this.#end).off('close', this.#close);
    from.resume();
    done(error);
  }

  readonly #take = (chunk: Buffer) => {
    this.#taken += chunk.length;
    if (this.#taken > this.#most) this.destroy(tooLarge(this.#taken, this.#most));
    else {
      const isSmall = chunk.length < SMALL_BYTES && this.readableLength > 0;
      if (isSmall) this.#gather(chunk);
      else {
        this.#pushGathered();
        this.push(chunk);
      }
      if (this.#waiting >= this.#ahead) this.#from.pause();
    }
  };

  readonly #end = () => {
    this.#pushGathered();
    this.push(null);
  };

  get #waiting(): number {
    return this.readableLength + this.#gathered.length;
  }

  #gather(chunk: Buffer): void {
    if (this.#gathered.length + chunk.length > GATHERED_BYTES) this.#pushGathered();
    this.#gathered.add(chunk);
  }

  #pushGathered(): void {
    const gathered = this.#gathered.take();
    if (gathered !== null) this.push(gathered);
  }

  readonly #close = () => {
    if (!this.readableEnded && !this.#from.complete) this.destroy(new Failure('cancelled', 'The caller went away'));
  };
}

/** Null for a request without one. Throws `payload_too_large`. */
export function uploadOf(request: IncomingMessage, most: number): Upload | null {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
  if (encoding === undefined && (length === undefined || Number(length) === 0)) return null;
  if (Number(length) > most) throw tooLarge(Number(length), most);
  return new Upload(request, most);
}

function tooLarge(observed: number, allowed: number): Failure {
  const limit = { name: 'sillytavern.bodyBytes', allowed, observed, unit: 'bytes' } as const;
  return new Failure('payload_too_large', `The body is larger than ${allowed} bytes`, { limit });
}
