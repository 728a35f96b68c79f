import { type Conversation, closed, type Supervised, Supervision, type Told, tooLong } from './supervision.ts';
import { verdictOn } from './verdict.ts';

export type RawConversation = Conversation & {
  /** How long a program that is asked to end may take, in ms; 0 does not ask. */
  graceMs: number;
};

/**
 * The conversation with a raw plugin: it finds one text on standard input and answers with another on standard
 * output, whole and at its end; on standard error it logs. Rejects with a Failure if the sandbox does not come up.
 */
export async function converse(sandbox: Supervised, conversation: RawConversation): Promise<Told> {
  const { limits, stop, stopped, graceMs } = conversation;
  const asking = { ask: () => sandbox.terminate(graceMs), patienceMs: graceMs };
  using supervision = new Supervision(sandbox, conversation, graceMs > 0 ? asking : undefined);
  const { halted, memory } = supervision;
  const chunks: Buffer[] = [];
  let bytes = 0;
  const answered = closed(sandbox.stdout, (chunk) => {
    // Whoever answers is about to end: the last good moment to see how large it has become.
    if (bytes === 0) supervision.look();
    bytes += chunk.length;
    if (bytes <= limits.outputBytes) chunks.push(chunk);
    else supervision.over(tooLong(limits.outputBytes, bytes));
  });

  let ending: Told['ending'] = null;
  let isInTime = false;
  let rung: Told['rung'] = 'killed';
  if (await supervision.begin()) {
    ending = await Promise.race([sandbox.ended, halted]);
    isInTime = !stopped.aborted;
    if (!stop.signal.aborted && ending !== null) rung = 'terminated';
    await supervision.drain(answered, ending);
  }
  const { tree, startedAt } = supervision;
  return {
    // What comes when the program has ended comes too late, unless it is about what it left in its pipes.
    isSettled: isInTime && !stop.signal.aborted,
    rung,
    ending,
    tree,
    memory,
    startedAt,
    judge: (evidence) => verdictOn(Buffer.concat(chunks), evidence),
  };
}
