/** A subject that answers `POST /` in a process of its own. */
import { Child, freePort } from './children.ts';
import { load, sampleOf } from './load.ts';
import type { Subject } from './question.ts';

type Command = { command: string; args: string[] };

export async function served(commandFor: (port: number) => Command | Promise<Command>): Promise<Subject> {
  const port = await freePort();
  const { command, args } = await commandFor(port);
  const child = new Child(command, args);
  try {
    await child.answers(`http://127.0.0.1:${port}/`);
    await load({ port, paths: ['/'], seconds: 1 });
  } catch (error) {
    await child[Symbol.asyncDispose]();
    throw error;
  }
  return {
    measure: async (seconds) => sampleOf(await load({ port, paths: ['/'], seconds })),
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
}
