/** `graphql-transport-ws`: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md */
import type { ExecutionArgs, GraphQLError } from 'graphql';
import { makeServer } from 'graphql-ws';
import type { GraphqlAsk } from '../../core/graphql.ts';
import { askIn } from '../../core/graphql.ts';
import { asErrors, type Line, type SocketCaller } from './socket-caller.ts';
import { OPERATIONS_MOST, type Speaker, tooManyOperations } from './speaker.ts';

export const TRANSPORT_PROTOCOL = 'graphql-transport-ws';

/** Until then whoever connects has to say that they are there. */
const INIT_MS = 10_000;
const BAD_REQUEST = 4400;

type Operation = ExecutionArgs & { contextValue: GraphqlAsk };

export function speakTransport(caller: SocketCaller, line: Line): Speaker {
  const run = (args: ExecutionArgs) => caller.run(args.document, (args as Operation).contextValue);
  const server = makeServer({
    connectionInitWaitTimeout: INIT_MS,
    async onSubscribe({ subscriptions }, _id, payload): Promise<Operation | readonly GraphQLError[]> {
      if (Object.keys(subscriptions).length > OPERATIONS_MOST) return [tooManyOperations()];
      try {
        const ask = askIn(Object(payload));
        const document = await caller.admit(ask);
        return { schema: caller.schema, document, operationName: ask.operationName, contextValue: ask };
      } catch (error) {
        return asErrors(error);
      }
    },
    execute: run,
    subscribe: run,
    // What comes from the desk is plain, and what is not becomes so when it is written.
    onNext: (_context, _id, _payload, _args, result) => caller.told(result),
  });
  let hear: (text: string) => Promise<void> = async () => {};
  const closed = server.opened(
    {
      protocol: TRANSPORT_PROTOCOL,
      send: (text) => line.send(text),
      close: (code = BAD_REQUEST, reason = '') => line.close(code, reason),
      onMessage: (listen) => {
        hear = listen;
      },
    },
    undefined,
  );
  return { hear: (text) => hear(text), closed: () => void closed() };
}
