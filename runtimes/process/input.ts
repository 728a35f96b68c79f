import { randomUUID } from 'node:crypto';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import type { ServerConnection } from '../../src/core/invocation.ts';
import { goJson } from './go-json.ts';

/**
 * What a raw plugin finds on its standard input, byte for byte as Stash writes it: one JSON object and no newline,
 * the fields of `server_connection` in the order of its type, and maps sorted by key as Go's encoder does. It comes in
 * pieces; see go-json.ts.
 */
export function* rawInput({ connection, args }: Input): Generator<string, void> {
  yield '{"server_connection":';
  yield* goJson(connection, false);
  yield ',"args":';
  yield* goJson(args, true);
  yield '}';
}

/** The call by which an rpc plugin is run, byte for byte as Stash writes it. */
export function* rpcInput(input: Input): Generator<string, void> {
  yield '{"method":"RPCRunner.Run","params":[';
  yield* rawInput(input);
  yield '],"id":0}\n';
}

export type Input = { connection: ServerConnection; args: Record<string, unknown> };

/**
 * The text as something to read from: a file of our own that has lost its name. Unlike a pipe it can be opened again
 * as `/dev/stdin`, needs nobody to write it, and does not care whether it is ever read.
 */
export async function opened(pieces: Iterable<string>, folder: string): Promise<FileHandle> {
  const name = join(folder, `input-${randomUUID()}`);
  // The folder is ours alone; the file is for whoever the plugin runs as.
  const file = await open(name, 'wx', 0o644);
  try {
    let text = '';
    let since = performance.now();
    for (const piece of pieces) {
      text += piece;
      if (text.length > AT_ONCE) {
        // Each write is a turn for others, too.
        await file.writeFile(text);
        text = '';
        since = performance.now();
      } else if (performance.now() - since > TURN_MS) {
        await turn();
        since = performance.now();
      }
    }
    await file.writeFile(text);
    return await open(name, 'r');
  } finally {
    await unlink(name);
    await file.close();
  }
}

/** All of it, for whoever is written to. */
export async function whole(pieces: Iterable<string>): Promise<string> {
  let text = '';
  let since = performance.now();
  for (const piece of pieces) {
    text += piece;
    if (performance.now() - since <= TURN_MS) continue;
    await turn();
    since = performance.now();
  }
  return text;
}

/** In characters. */
const AT_ONCE = 65_536;
const TURN_MS = 5;
