/**
 * The executor: a child process that runs the embedded JavaScript of one tenant. Only here is isolated-vm loaded.
 *
 * Theory of operation. Frames come in over file descriptor 3 and are worked off in order on the main thread. Brief
 * runs happen right there, one after the other, and their answers share one write. Long runs happen on threads of
 * isolated-vm; the main thread only hears from them. When nothing is left to do, contexts are made ahead.
 *
 * It never calls process.exit(): isolated-vm threads that are still at work crash on it. When the host closes the
 * channel, or breaks off, it kills itself.
 */
import { flushCompileCache } from 'node:module';
import { Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { type Frame, FrameReader, FrameWriter, Kind, type LoadHead, type LongHead } from '../wire.ts';
import { BriefLane } from './brief.ts';
import { LongLane } from './long.ts';
import { type Program, readGuestScripts } from './program.ts';

/** Isolates of programs in the brief lane that one executor keeps. */
const BRIEF_ISOLATES_MOST = 128;
/** Answers that are ready wait for others, up to so many or so long; then the front end works on them as we go on. */
const FLUSH_FRAMES = 12;
const FLUSH_AFTER_MS = 1;
const TIDY_EVERY_MS = 1000;

const channel = new Socket({ fd: 3, readable: true, writable: true });
const reader = new FrameReader();
const writer = new FrameWriter();
const scripts = readGuestScripts();
const programs = new Map<number, Program>();
const briefLane = new BriefLane(scripts, BRIEF_ISOLATES_MOST);
const longLane = new LongLane(scripts, { writer, flush });

function flush(): void {
  writer.flush(channel);
}

function onFrame(frame: Frame): void {
  switch (frame.kind) {
    case Kind.brief:
      return brief(frame);
    case Kind.long:
      return long(frame);
    case Kind.load:
      return load(frame);
    case Kind.stop:
      return longLane.stop(frame.id);
    case Kind.answer:
      return longLane.answer(frame.id, frame.x, frame.body.toString('utf8'));
    case Kind.unload:
      briefLane.drop(frame.id);
      longLane.drop(frame.id);
      programs.delete(frame.id);
      return;
    case Kind.ping:
      return writer.add(Kind.pong, 0, 0, 0, '', '');
    default:
      throw new Error(`no such message: ${frame.kind}`);
  }
}

function load({ id, head, body }: Frame): void {
  const { sourceBytes } = head as LoadHead;
  const source = body.toString('utf8', 0, sourceBytes);
  const cached = body.subarray(sourceBytes);
  // A copy: the body is a view into a larger buffer, and V8 wants one of its own.
  const cachedData = cached.length === 0 ? undefined : Buffer.from(new Uint8Array(cached).buffer);
  programs.set(id, { number: id, source, cachedData, head: head as LoadHead });
}

/** Contexts are garbage in bulk: with a larger nursery, most of it never has to be copied. Long runs would only get more memory by it. */
let nursery: 'small' | 'large' = 'small';
function enlargeNursery(): void {
  nursery = 'large';
  setFlagsFromString('--min-semi-space-size=16');
  setFlagsFromString('--max-semi-space-size=32');
}

function brief({ id, x, y, body }: Frame): void {
  if (nursery === 'small') enlargeNursery();
  const program = programs.get(x);
  if (program === undefined) return writer.add(Kind.unfit, id, 0, 0, '', 'program unknown');
  const end = briefLane.run(program, y === 1, body.toString('utf8'));
  if (end.ok) writer.add(Kind.done, id, end.cpuUs, end.memoryKb, end.head, end.output);
  else writer.add(Kind.unfit, id, 0, 0, '', end.why);
}

function long({ id, x, head, body }: Frame): void {
  const program = programs.get(x);
  if (program !== undefined) return longLane.start(id, program, head as LongHead, body.toString('utf8'));
  writer.add(Kind.failed, id, 0, 0, JSON.stringify({ code: 'internal', message: 'program unknown' }), '');
}

/** Contexts are made one at a time, so that a frame which comes in between waits for one only. */
let preparing: NodeJS.Immediate | undefined;
function prepareWhenIdle(): void {
  if (preparing !== undefined) return;
  preparing = setImmediate(() => {
    preparing = undefined;
    if (briefLane.prepare() || longLane.prepare()) prepareWhenIdle();
  });
}

channel.on('data', (chunk: Buffer) => {
  let flushedAt = performance.now();
  let frames = 0;
  reader.read(chunk, (frame) => {
    onFrame(frame);
    frames += 1;
    const now = performance.now();
    if (frames < FLUSH_FRAMES && now - flushedAt < FLUSH_AFTER_MS) return;
    flush();
    flushedAt = now;
    frames = 0;
  });
  flush();
  prepareWhenIdle();
});
setInterval(() => longLane.tidy(), TIDY_EVERY_MS);

const leave = () => process.kill(process.pid, 'SIGKILL');
channel.on('close', leave);
channel.on('error', leave);

// A terminal's Ctrl-C reaches the whole process group. What runs here is finished or stopped by the host, not by that.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});

writer.add(Kind.ready, 0, 0, 0, '', '');
flush();
// It will end by a signal, when it is too late for this. No plugin has been here yet.
flushCompileCache();
