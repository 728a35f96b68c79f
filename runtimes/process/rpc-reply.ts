import { readFields } from './answer.ts';
import { Unfit } from './json-objects.ts';
import { walk } from './json-walk.ts';
import { answeredError, invalid, type Verdict } from './verdict.ts';

/**
 * An answer in JSON-RPC 1.0, `{"id":0,"result":{…},"error":null}`, read as Go's client does: keys without regard to
 * case, the last one of a field counts, no id is 0, and an error counts over a result. Where that client gives up in
 * silence, which Stash then takes for an empty result, here is an `Unfit`. Contract: Go `net/rpc/jsonrpc`.
 */
export type Reply = {
  id: number;
  /** JSON text. */
  result: string;
  /** In the plugin's words; null where there is a result. */
  error: string | null;
};

export function readReply(text: string): Reply {
  const { end, members } = walk(text);
  if (end !== 'whole') throw new Unfit('is no JSON', text);
  const fields = new Map(members.map(({ key, value }) => [key.toLowerCase(), value]));
  const { id = 'null', result = 'null', error = 'null' } = Object.fromEntries(fields);
  const number = JSON.parse(id) ?? 0;
  if (!Number.isSafeInteger(number) || number < 0) throw new Unfit('has an id that is no number of a call', text);
  if (error !== 'null') return { id: number, result, error: wordsOf(error) };
  if (result === 'null') throw new Unfit('has neither a result nor an error', text);
  return { id: number, result, error: null };
}

/** What the answer to `RPCRunner.Run` amounts to: its result is `{error, output}`, as a raw plugin answers. */
export function verdictOnReply({ result, error }: Reply): Verdict {
  if (error !== null) return answeredError(error, 'null');
  if (!result.startsWith('{')) return invalid('The result that it answered is no object', result);
  const fields = fieldsOf(result);
  if (fields === null) return invalid('The result that it answered has a number too large to hold', result);
  if (fields.isMistyped) return invalid('The error that it answered is no text', result);
  return fields.error === null ? { ok: true, output: fields.output } : answeredError(fields.error, fields.output);
}

/** Null for the one thing that is JSON and cannot be read. */
function fieldsOf(result: string) {
  try {
    return readFields(result);
  } catch {
    return null;
  }
}

/** Go has texts for errors and takes nothing else; others have objects, whose text is better than no word at all. */
function wordsOf(error: string): string {
  const words = JSON.parse(error);
  if (typeof words !== 'string') return error;
  return words === '' ? 'unspecified error' : words.toWellFormed();
}
