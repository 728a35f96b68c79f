import { setImmediate as turn } from 'node:timers/promises';
import { tooLong } from '../../src/programs/over-limit.ts';
import { closed, within } from '../../src/programs/settling.ts';
import { readAnswer } from './answer.ts';
import { type Conversation, type Supervised, Supervision, type Told } from './supervision.ts';
import { verdictOn } from './verdict.ts';

export type RawConversation = Conversation & {
  /** How long a program that is asked to end may take, in ms; 0 does not ask. */
  graceMs: number;
  /** Gives it its input, where that was not there from the start. Called when it is on its way. */
  feed?(): void;
  /** Whether the first whole answer is the outcome, or what there is when the program has ended. */
  settles: 'with the answer' | 'at the end';
};

/** `rest` is there where the answer came before the end. It resolves when the program has ended, or was. */
export type RawTold = Told & { rest: Promise<Rest> | null };

/** Whether the answer that was given is the one that would have been given at the end. */
export type Rest = 'as told' | 'otherwise';

/**
 * The conversation with a raw plugin: it finds one text on standard input and answers with another on standard
 * output, whole and at its end; on standard error it logs. Rejects with a Failure if the sandbox does not come up.
 */
export async function converse(sandbox: Supervised, conversation: RawConversation): Promise<RawTold> {
  const { limits, stop, stopped, graceMs, feed, settles } = conversation;
  const asking = { ask: () => sandbox.terminate(graceMs), patienceMs: graceMs };
  using scope = new DisposableStack();
  const supervision = scope.use(new Supervision(sandbox, conversation, graceMs > 0 ? asking : undefined));
  const { halted, memory } = supervision;
  const chunks: Buffer[] = [];
  let bytes = 0;
  const whole = Promise.withResolvers<'whole'>();
  const answered = closed(sandbox.stdout, (chunk) => {
    // Whoever answers is about to end: the last good moment to see how large it has become.
    if (bytes === 0) supervision.look();
    bytes += chunk.length;
    if (bytes <= limits.outputBytes) chunks.push(chunk);
    else supervision.over(tooLong(limits.outputBytes, bytes));
    if (settles === 'with the answer' && isWhole(chunks)) whole.resolve('whole');
  });

  let ending: Told['ending'] = null;
  let isInTime = false;
  let rung: Told['rung'] = 'killed';
  let rest: Promise<Rest> | null = null;
  let text: Buffer | null = null;
  if (await supervision.begin()) {
    feed?.();
    const first = await Promise.race([sandbox.ended, whole.promise, halted]);
    ending = first === 'whole' ? null : first;
    isInTime = !stopped.aborted;
    if (isInTime && first === 'whole') {
      text = Buffer.concat(chunks);
      const told = text.length;
      supervision.leave();
      const scopeOfRest = scope.move();
      rest = within(REST_MS, sandbox.ended).then((end) => {
        scopeOfRest.dispose();
        return end?.code === 0 && end.signal === null && bytes === told ? 'as told' : 'otherwise';
      });
      // Its log is there as far as it has come.
      await turn();
      conversation.journal.end();
    } else {
      if (!stop.signal.aborted && ending !== null) rung = 'terminated';
      await supervision.drain(answered, ending);
    }
  }
  const { tree, startedAt } = supervision;
  return {
    // What comes when the program has ended comes too late, unless it is about what it left in its pipes.
    isSettled: isInTime && !stop.signal.aborted,
    rung,
    ending: rest === null ? ending : WELL,
    tree,
    memory,
    startedAt,
    rest,
    judge: (evidence) => verdictOn(text ?? Buffer.concat(chunks), evidence),
  };
}

/** Whether that is an answer, to which nothing could be added. */
function isWhole(chunks: readonly Buffer[]): boolean {
  const last = chunks.at(-1)?.toString('latin1').trimEnd() ?? '';
  if (!last.endsWith('}') && last !== '') return false;
  const text = Buffer.concat(chunks);
  return /^\s*\{/.test(text.toString('latin1', 0, 64)) && readAnswer(text).kind === 'answer' && isJson(text);
}

function isJson(text: Buffer): boolean {
  try {
    JSON.parse(text.toString('utf8'));
    return true;
  } catch {
    return false;
  }
}

/** How a program ends of which nothing else was ever seen. */
const WELL = { code: 0, signal: null, unstarted: false, cpuMs: 0 };
/** How long a program may take to end when it has answered. */
const REST_MS = 2_000;
