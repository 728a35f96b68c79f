import { inspect } from 'node:util';
import pino, { type DestinationStream, type Logger } from 'pino';
import type { Failure } from './core/failure.ts';
import { stripped } from './core/text.ts';
import type { EgressAttempt, Settled } from './engine/invoker.ts';
import type { Served } from './engine/reception.ts';

/** `words` are not ours: those of a server, say. */
export type Notice = { level: 'warn' | 'info'; what: string; words?: string };

/** Lines that are kept back at most, and for how long. */
const LINES_MOST = 256;
const PASS_AFTER_MS = 100;

/**
 * Standard error, written in the background, so that no invocation waits for it. Lines are joined here first: what is
 * behind measures all it holds each time it is given something.
 */
export function backgroundDestination(): DestinationStream & { flush(): void } {
  const behind = pino.destination({ dest: 2, sync: false });
  const lines: string[] = [];
  const pass = () => {
    if (lines.length > 0) behind.write(lines.splice(0).join(''));
  };
  // Before what is behind writes its own rest, which it does then.
  process.prependOnceListener('exit', pass);
  return {
    write(line) {
      if (lines.push(line) === 1) setTimeout(pass, PASS_AFTER_MS).unref();
      else if (lines.length >= LINES_MOST) pass();
    },
    flush() {
      pass();
      behind.flush();
    },
  };
}

/** Our own log: one JSON object a line. Whatever callers and plugins say is a value in it, never part of its form. */
export class Log {
  readonly #pino: Logger;
  readonly #destination: DestinationStream;
  readonly #info: boolean;
  #second = 0;
  #secondText = '';

  constructor(level: string, destination: DestinationStream) {
    this.#pino = pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
    this.#destination = destination;
    this.#info = this.#pino.isLevelEnabled('info');
  }

  /** One line for each settled invocation. */
  settled(settled: Settled): void {
    // What goes well goes often. Written by hand it takes a quarter of the time that an object of so many members does.
    if (settled.outcome.ok) {
      if (this.#info)
        this.#destination.write(`{"level":30,"time":"${this.#now()}",${line(settled, 'ok')},"msg":"settled"}\n`);
      return;
    }
    const { failure } = settled.outcome;
    const known = JSON.parse(`{${line(settled, failure.code)}}`);
    this.#pino[failure.code === 'internal' ? 'error' : 'info']({ ...known, ...explained(settled) }, 'settled');
  }

  /** One line for each request to a route of a plugin. */
  served({ tenant, plugin = '', id, status, failure, totalMs }: Served): void {
    if (failure === null) {
      if (!this.#info) return;
      const known = `"tenant":${quoted(tenant)},"plugin":${quoted(plugin)},"request":"${id}","code":"ok"`;
      const told = `${known},"status":${status},"totalMs":${tenths(totalMs)},"msg":"served"`;
      this.#destination.write(`{"level":30,"time":"${this.#now()}",${told}}\n`);
      return;
    }
    const { code } = failure;
    const known = { tenant, plugin, request: id, code, status, totalMs: tenths(totalMs) };
    this.#pino[code === 'internal' ? 'error' : 'info']({ ...known, ...wordsOf(failure) }, 'served');
  }

  /** One line for each attempt to reach another host. The host is what was asked for. */
  egress({ host, ...attempt }: EgressAttempt): void {
    this.#pino.info({ ...attempt, host: stripped(host, 255) }, 'egress');
  }

  /** An error of ours that is no invocation's, whole. */
  bug(error: unknown, invocation?: string): void {
    this.#pino.error({ invocation, cause: stripped(inspect(error), 8_000) }, 'bug');
    this.flush();
  }

  /** What happens to what we depend on. */
  notice({ level, what, words }: Notice): void {
    this.#pino[level](words === undefined ? {} : { cause: stripped(words, 5_000) }, what);
  }

  flush(): void {
    this.#pino.flush();
  }

  /** As `toISOString` has it, which is not asked for the same second twice. */
  #now(): string {
    const now = Date.now();
    const ms = now % 1_000;
    if (now - ms !== this.#second) {
      this.#second = now - ms;
      this.#secondText = new Date(now).toISOString().slice(0, 20);
    }
    return `${this.#secondText}${ms < 100 ? (ms < 10 ? '00' : '0') : ''}${ms}Z`;
  }
}

/** Members that every settled invocation has, as JSON. */
function line({ id, request, outcome: { usage }, queueMs, totalMs }: Settled, code: string): string {
  const { tenant, plugin, traceparent, job } = request;
  return (
    `"tenant":${quoted(tenant)},"plugin":${quoted(plugin)},"entry":${entry(request)},` +
    `"invocation":"${id}","code":"${code}","wallMs":${tenths(usage.wallMs)},"cpuMs":${tenths(usage.cpuMs)},` +
    `"queueMs":${tenths(queueMs)},"totalMs":${tenths(totalMs)},"peakMemoryBytes":${tenths(usage.peakMemoryBytes)},` +
    `"hostCalls":${tenths(usage.hostCalls)}${traceparent === undefined ? '' : `,"traceparent":${quoted(traceparent)}`}${job === undefined ? '' : `,"job":"${job}"`}`
  );
}

/** What was run; of a hook, also what led to it. */
function entry({ task, hook, chain }: Settled['request']): string {
  if (hook === undefined) return task === undefined ? '"operation"' : quoted(`task ${task}`);
  const name = quoted(`hook ${hook.name}`);
  if (chain === undefined) return name;
  const { root, by, links } = chain;
  const causedBy =
    by === null ? '' : `,"causedBy":{"plugin":${quoted(by.plugin)},"invocation":${quoted(by.invocation)}}`;
  return `${name},"trigger":${quoted(links.at(-1)?.trigger ?? '')},"root":${quoted(root)},"depth":${links.length}${causedBy}`;
}

/** What there is to say about a failure. */
function explained({ outcome }: Settled): Record<string, unknown> {
  return outcome.ok ? {} : wordsOf(outcome.failure);
}

function wordsOf({ message, details }: Failure): Record<string, unknown> {
  const { rung, limit, pluginError, cause } = details;
  const words: Record<string, unknown> = { detail: stripped(message, 1_000), rung, limit };
  if (pluginError !== undefined) words.pluginError = stripped(`${pluginError.name}: ${pluginError.message}`, 1_000);
  if (cause !== undefined) words.cause = stripped(inspect(cause), 4_000);
  return words;
}

function quoted(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : JSON.stringify(stripped(text, 200));
}

const PLAIN = /^[\w .:-]{0,200}$/;

/** JSON has no NaN and no Infinity. */
function tenths(value: number): number {
  const rounded = Math.round(value * 10) / 10;
  return Number.isFinite(rounded) ? rounded : 0;
}
