/**
 * The protocol of subscriptions-transport-ws, whose name as a subprotocol is `graphql-ws`. Nobody keeps its library any
 * more, and clients that speak it are still about.
 * https://github.com/apollographql/subscriptions-transport-ws/blob/master/PROTOCOL.md
 */

import { askIn } from '../../core/graphql.ts';
import { asErrors, type Line, type SocketCaller } from './socket-caller.ts';
import { OPERATIONS_MOST, type Speaker, tooManyOperations } from './speaker.ts';

export const LEGACY_PROTOCOL = 'graphql-ws';

type Message = { type?: unknown; id?: unknown; payload?: unknown };

const NORMAL = 1000;
const BAD_REQUEST = 4400;
const UNAUTHORIZED = 4401;

export function speakLegacy(caller: SocketCaller, line: Line): Speaker {
  return new Legacy(caller, line);
}

/** `events` is null until it is known whether it has several results. */
type Operation = { events: AsyncIterator<unknown> | null };

class Legacy implements Speaker {
  readonly #caller: SocketCaller;
  readonly #line: Line;
  /** What is under way, by the client's ids. */
  readonly #operations = new Map<string, Operation>();
  /** Also those that have lost their ids to others. */
  #running = 0;
  #isOpen = false;

  constructor(caller: SocketCaller, line: Line) {
    this.#caller = caller;
    this.#line = line;
  }

  async hear(text: string): Promise<void> {
    const { type, id, payload } = messageIn(text);
    if (type === 'connection_init') {
      this.#isOpen = true;
      await this.#send({ type: 'connection_ack' });
      await this.#send({ type: 'ka' });
    } else if (type === 'connection_terminate') this.#line.close(NORMAL, '');
    else if (!this.#isOpen) this.#line.close(UNAUTHORIZED, 'connection_init comes first');
    else if (typeof id !== 'string' && typeof id !== 'number') this.#line.close(BAD_REQUEST, 'There is no id');
    else if (type === 'start') await this.#start(String(id), payload);
    else if (type === 'stop') await this.#stop(String(id));
    else this.#line.close(BAD_REQUEST, 'This is no type of message');
  }

  beat(): void {
    if (this.#isOpen) this.#send({ type: 'ka' }).catch(() => {});
  }

  closed(): void {
    for (const id of [...this.#operations.keys()]) void this.#stop(id);
  }

  async #start(id: string, payload: unknown): Promise<void> {
    // As its library has it: another one of the same id takes the place of the first.
    await this.#stop(id);
    if (this.#running >= OPERATIONS_MOST) return this.#send({ type: 'error', id, payload: tooManyOperations() });
    const operation: Operation = { events: null };
    this.#operations.set(id, operation);
    this.#running += 1;
    try {
      const ask = askIn(Object(payload));
      const came = await this.#caller.run(await this.#caller.admit(ask), ask);
      if (this.#operations.get(id) !== operation) {
        if (Symbol.asyncIterator in came) await came.return(undefined);
        return;
      }
      if (Symbol.asyncIterator in came) {
        operation.events = came;
        for await (const result of came) await this.#send({ type: 'data', id, payload: this.#caller.told(result) });
      } else await this.#send({ type: 'data', id, payload: this.#caller.told(came) });
      if (this.#operations.get(id) === operation) {
        this.#operations.delete(id);
        await this.#send({ type: 'complete', id });
      }
    } catch (error) {
      if (this.#operations.get(id) === operation) this.#operations.delete(id);
      const [first] = asErrors(error);
      await this.#send({ type: 'error', id, payload: first });
    } finally {
      this.#running -= 1;
    }
  }

  async #stop(id: string): Promise<void> {
    const operation = this.#operations.get(id);
    this.#operations.delete(id);
    await operation?.events?.return?.();
  }

  #send(message: object): Promise<void> {
    return this.#line.send(JSON.stringify(message));
  }
}

/** What is no message at all has no type. */
function messageIn(text: string): Message {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}
