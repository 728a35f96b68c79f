import type { FileHandle } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { tooLong } from '../../src/programs/over-limit.ts';
import { within } from '../../src/programs/settling.ts';
import type { Unfit } from './json-objects.ts';
import { RpcClient } from './rpc-client.ts';
import { verdictOnReply } from './rpc-reply.ts';
import { type Conversation, type Supervised, Supervision, type Told } from './supervision.ts';
import { BREAKS_OFF, type Evidence, invalid, type Verdict, verdictOnEnd, verdictOnStart } from './verdict.ts';

export type RpcConversation = Conversation & {
  /** The call of `RPCRunner.Run`; see input.ts. */
  request: FileHandle;
  /** Where the program reads. */
  stdin: Writable;
  /** How long it has to end by itself, after it was asked to or has answered. */
  stopMs: number;
};

/**
 * The conversation with an rpc plugin, whose program is a server of JSON-RPC 1.0 on its standard input and output; on
 * standard error it logs. `RPCRunner.Run` is called once. Contract: Stash `pkg/plugin/rpc.go`.
 *
 * With the answer the outcome is there. Both ways are closed, at which a server ends, and if it takes longer than it may
 * its tree is killed; how it ended then says nothing about the run, as in Stash. (That sends it a SIGINT at once, which
 * puts a traceback into the log of each plugin written in Python.)
 *
 * To stop it, `RPCRunner.Stop` is called, while Run is under way. It does not have to be answered. What counts is
 * whether the program answers Run, or ends, while it has time for it. (Stash waits for that answer for ever.)
 */
export async function converseInRpc(sandbox: Supervised, conversation: RpcConversation): Promise<Told> {
  const { limits, stop, stopped, request, stdin, stopMs } = conversation;
  const told = { verdict: null as Verdict | null };
  const ask = async () => {
    // Who has answered is asked for nothing more.
    if (told.verdict !== null) return;
    const refused = client.call([STOP]).then(({ error }) => (error === null ? sandbox.ended : null));
    await Promise.race([refused.catch(() => null), sandbox.ended]);
  };
  using supervision = new Supervision(sandbox, conversation, { ask, patienceMs: stopMs });
  const { halted, memory } = supervision;
  using client = new RpcClient(stdin, sandbox.stdout, (bytes) => {
    if (bytes > limits.outputBytes) supervision.over(tooLong(limits.outputBytes, bytes));
  });

  let ending: Told['ending'] = null;
  let isInTime = false;
  let rung: Told['rung'] = 'killed';
  if (await supervision.begin()) {
    const verdict = client.call(contentOf(request)).then(verdictOnReply, unfit);
    const answered = verdict.then((verdict) => {
      told.verdict = verdict;
      supervision.look();
      client.hangUp();
      return null;
    });
    ending = await Promise.race([sandbox.ended, answered, halted]);
    isInTime = !stopped.aborted;
    if (!stop.signal.aborted && (told.verdict !== null || ending !== null)) rung = 'cooperative';
    if (told.verdict !== null) ending = await within(stopMs, sandbox.ended, halted);
    await supervision.drain(client.closed, ending);
  }
  const { tree, startedAt } = supervision;
  const { unfinished } = client;
  return {
    // What it does when it has answered is nobody's concern, as long as it is not too much to be answered.
    isSettled: isInTime && (told.verdict !== null || !stop.signal.aborted),
    rung,
    ending,
    tree,
    memory,
    startedAt,
    judge: (evidence) => told.verdict ?? unanswered(evidence, unfinished),
  };
}

function unfit({ message, preview }: Unfit): Verdict {
  return invalid(`Its answer ${message}`, preview);
}

function unanswered(evidence: Evidence, unfinished: string | null): Verdict {
  const ended = verdictOnStart(evidence) ?? verdictOnEnd(evidence, {});
  if (ended !== null) return ended;
  return unfinished === null ? invalid('It ended without an answer', '') : invalid(BREAKS_OFF, unfinished);
}

async function* contentOf(file: FileHandle): AsyncGenerator<Buffer, void> {
  for (let at = 0; ; ) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(AT_ONCE), 0, AT_ONCE, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

const STOP = '{"method":"RPCRunner.Stop","params":[null],"id":1}\n';
const AT_ONCE = 65_536;
