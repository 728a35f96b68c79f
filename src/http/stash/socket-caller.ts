import type { FastifyRequest } from 'fastify';
import {
  type DocumentNode,
  type ExecutionResult,
  type FormattedExecutionResult,
  GraphQLError,
  getOperationAST,
  parse,
} from 'graphql';
import type { Chains } from '../../core/chain.ts';
import { Failure } from '../../core/failure.ts';
import { type GraphqlAsk, type GraphqlDesk, QUERY_LETTERS_MOST, QUERY_TOKENS_MOST } from '../../core/graphql.ts';
import type { Pace } from '../../core/pace.ts';
import { type AuthOptions, stillEntitled } from '../auth.ts';
import { callerOf, replyOf } from './desk-reply.ts';
import type { StashFields } from './fields.ts';
import { errorOf } from './graphql-errors.ts';

export type SocketParts = { desk: GraphqlDesk; stash: StashFields; chains: Chains; pace: Pace } & Pick<
  AuthOptions,
  'bearers' | 'tenancies'
>;

/** This end of a socket. */
export type Line = {
  /** Resolves when it has left us. */
  send(text: string): Promise<void>;
  close(code: number, reason: string): void;
};

/** What came of an operation: its events as they happen, or its one result. */
export type Came = AsyncGenerator<ExecutionResult> | ExecutionResult;

/** What a subscription selects is put together for each event. */
const SUBSCRIPTION_CHARACTERS = 2_000;

/** Whoever is at the other end of a socket: they may ask what they could ask in requests. */
export class SocketCaller implements Disposable {
  readonly request: FastifyRequest;
  readonly #parts: SocketParts;
  readonly #shut: () => void;
  readonly #gone = new AbortController();

  /** `shut` is called when they would not be let in any more. */
  constructor(request: FastifyRequest, parts: SocketParts, shut: () => void) {
    this.request = request;
    this.#parts = parts;
    this.#shut = shut;
  }

  get schema() {
    return this.#parts.stash.schema;
  }

  /** Rejects with a Failure where they would not be let in any more, or where that cannot be found out now. */
  async assertEntitled(): Promise<void> {
    try {
      await stillEntitled(this.request, this.#parts);
    } catch (error) {
      if (OUT.includes(Failure.from(error).code)) this.#shut();
      throw error;
    }
  }

  /** What they ask, read, and admitted as a request is. */
  async admit({ query }: GraphqlAsk): Promise<DocumentNode> {
    await this.assertEntitled();
    await this.request.tenancy.rate?.take();
    if (query.length > QUERY_LETTERS_MOST) {
      throw new Failure('payload_too_large', `A query has ${QUERY_LETTERS_MOST} characters at most`);
    }
    await this.#parts.pace.turn(this.request.tenant);
    return parse(query, { maxTokens: QUERY_TOKENS_MOST });
  }

  async run(document: DocumentNode, ask: GraphqlAsk): Promise<Came> {
    const { desk, stash, chains } = this.#parts;
    const { signal } = this.#gone;
    try {
      const caller = callerOf(this.request, chains);
      if (getOperationAST(document, ask.operationName)?.operation !== 'subscription') {
        return JSON.parse((await replyOf(desk, ask, caller, signal)).body) as ExecutionResult;
      }
      if (ask.query.length <= SUBSCRIPTION_CHARACTERS) return await stash.subscribe(document, ask, caller, signal);
      throw new Failure('payload_too_large', `A subscription has ${SUBSCRIPTION_CHARACTERS} characters at most`);
    } catch (error) {
      return stash.shown({ errors: [new GraphQLError('', { cause: error })] });
    }
  }

  /** A result as it is sent. */
  told(result: object): FormattedExecutionResult {
    return this.#parts.stash.shown(result as ExecutionResult) as FormattedExecutionResult;
  }

  /** What they wait for ends. */
  [Symbol.dispose](): void {
    this.#gone.abort(new Failure('cancelled', 'The caller went away'));
  }
}

const OUT: readonly Failure['code'][] = ['unauthenticated', 'forbidden', 'not_found'];

/** What an operation is refused with. */
export function asErrors(error: unknown): readonly GraphQLError[] {
  if (error instanceof GraphQLError) return [error];
  // The stack was not deep enough for it.
  if (error instanceof RangeError) return [new GraphQLError('The query is nested too deeply to be read')];
  return [errorOf(Failure.from(error))];
}
