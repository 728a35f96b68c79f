import type { DocumentNode, ExecutionResult, GraphQLSchema } from 'graphql';
import type { Chain } from './chain.ts';
import { Failure } from './failure.ts';
import type { Holder } from './session.ts';
import type { Scope } from './tenant.ts';

/** One GraphQL request, over whatever it came. */
export type GraphqlAsk = {
  query: string;
  variables?: Record<string, unknown> | null | undefined;
  operationName?: string | null | undefined;
};

/** Words and signs of a query, and letters: reading so much takes some ms. What is long belongs into variables. */
export const QUERY_TOKENS_MOST = 20_000;
export const QUERY_LETTERS_MOST = 262_144;

/** What the members of an object ask. Throws `invalid_request`. */
export function askIn(members: object): GraphqlAsk {
  const { query, variables, operationName } = members as Record<string, unknown>;
  if (typeof query !== 'string') throw new Failure('invalid_request', 'There is no "query"');
  const isMap = typeof variables === 'object' && !Array.isArray(variables);
  if (variables !== undefined && !isMap) throw new Failure('invalid_request', 'The "variables" are no object');
  if (operationName !== undefined && operationName !== null && typeof operationName !== 'string') {
    throw new Failure('invalid_request', 'The "operationName" is no string');
  }
  // One that has no letters is none.
  return { query, variables: variables as GraphqlAsk['variables'], operationName: operationName || null };
}

/** Who asks: somebody with a token, or a plugin in an invocation of its own. */
export type GraphqlCaller = {
  tenant: string;
  /** What they may do; see each field. A plugin has `invoke`, and may configure itself. */
  scopes: readonly Scope[];
  holder: Holder | null;
  /** What is answered in place of the application's API key. */
  apiKey: string;
  /** Where this service was reached, with no slash at its end, where that is known. */
  base?: string;
  /** What has led to the event that they tell of, where they have passed that on. */
  chain?: Chain | null;
};

/**
 * Who answers a field. `both`: an object that the application has, too; each of its fields is asked of whom it belongs
 * to. `also`: ours, and beside it what the application says, if it can say anything: a list is ours and then theirs, a
 * boolean is true where both are, and what is null here is theirs.
 */
export type FieldOwner = 'ours' | 'theirs' | 'both' | 'also';

/** The fields of an application's GraphQL that are answered here in its place. */
export interface OwnFields {
  readonly schema: GraphQLSchema;
  /** `args` are those of the field, with variables filled in; `alone`: there is no application, and so nothing is `both`. */
  ownerOf(type: string, field: string, args: Record<string, unknown>, alone: boolean): FieldOwner;
  /** A document of fields of ours alone. What is wrong with it is in `errors`; rejects with `signal.reason` when the signal aborts. */
  execute(
    document: DocumentNode,
    ask: Pick<GraphqlAsk, 'variables' | 'operationName'>,
    caller: GraphqlCaller,
    signal: AbortSignal,
  ): Promise<ExecutionResult>;
}

/** What is answered, and as what status of HTTP. */
export type GraphqlReply = { status: number; body: string };

/** Answers GraphQL requests: what is ours by ourselves, all else by asking the tenant's application. */
export interface GraphqlDesk {
  /** Resolves with the status and the JSON text to answer with. Rejects with `signal.reason` when the signal aborts. */
  ask(ask: GraphqlAsk, caller: GraphqlCaller, signal: AbortSignal): Promise<GraphqlReply>;
}
