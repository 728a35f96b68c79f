import { type ExecutionResult, print } from 'graphql';
import type { Application } from '../core/application.ts';
import { Failure } from '../core/failure.ts';
import type { GraphqlAsk, GraphqlCaller, GraphqlDesk, GraphqlReply, OwnFields } from '../core/graphql.ts';
import { includes } from '../core/tenant.ts';
import type { SealedChains } from './chains.ts';
import type { Documents, Operation } from './documents.ts';
import type { Introspection } from './introspection.ts';
import { merged, type PartAnswer } from './merge.ts';
import { mayAskForKey, withoutKeys } from './secrets.ts';
import { type Part, split } from './split.ts';

export type DeskOptions = {
  documents: Documents;
  introspection: Introspection;
  own(): OwnFields;
  chains: SealedChains;
  applicationOf(tenant: string): Application;
};

/** Who asks what, of whom. */
type Asking = {
  ask: GraphqlAsk;
  caller: GraphqlCaller;
  application: Application;
  operation: Operation;
  signal: AbortSignal;
};

/** What a part came to: an answer of GraphQL, or what the application said instead of one. */
type Came = { answer: PartAnswer } | { reply: GraphqlReply };

/** Answers what is ours, passes on what is the application's, and takes apart and puts together what is both. */
export class Desk implements GraphqlDesk {
  readonly #options: DeskOptions;

  constructor(options: DeskOptions) {
    this.#options = options;
  }

  async ask(ask: GraphqlAsk, caller: GraphqlCaller, signal: AbortSignal): Promise<GraphqlReply> {
    const { documents, own, applicationOf } = this.#options;
    const operation = documents.operation(ask.query, ask.operationName);
    if (operation.operation.operation === 'subscription') {
      throw new Failure('invalid_request', 'A subscription comes over a WebSocket, and from nowhere else');
    }
    const application = applicationOf(caller.tenant);
    const { parts, shared } = split(operation, ask.variables ?? {}, own(), !application.isThere);
    const asking = { ask, caller, application, operation, signal };
    if (parts.some(({ answerer }) => answerer === 'theirs')) refuseForeign(caller);
    const [only] = parts;
    if (only?.answerer === 'theirs' && parts.length === 1) {
      const { query, variables, operationName, text } = ask;
      return await this.#pass(asking, text ?? JSON.stringify({ query, variables, operationName }));
    }

    const isOrdered = operation.operation.operation === 'mutation';
    const came = isOrdered ? await this.#inTurn(parts, asking) : await this.#together(parts, asking);
    const instead = came.find((one) => 'reply' in one);
    if (instead !== undefined) return instead.reply;
    const answers = came.flatMap((one) => ('answer' in one ? [one.answer] : []));
    const { operation: definition, fragments } = operation;
    const whole = merged(answers, { selections: definition.selectionSet, fragments, shared });
    // Stash tells so of what did not come to be executed.
    const status = answers.some((one) => one.data === undefined) ? 422 : 200;
    return { status, body: JSON.stringify(whole) };
  }

  async #together(parts: readonly Part[], asking: Asking): Promise<Came[]> {
    return await Promise.all(parts.map((part) => this.#part(part, asking)));
  }

  async #inTurn(parts: readonly Part[], asking: Asking): Promise<Came[]> {
    const came: Came[] = [];
    for (const part of parts) {
      const one = await this.#part(part, asking);
      came.push(one);
      // What comes after what could not be asked is not done.
      if ('reply' in one || one.answer.data === null || one.answer.data === undefined) break;
    }
    return came;
  }

  async #part(part: Part, asking: Asking): Promise<Came> {
    switch (part.answerer) {
      case 'ours':
        return { answer: await this.#ours(part, asking) };
      case 'schema':
        return { answer: await this.#schema(part, asking) };
      case 'theirs':
        return await this.#theirs(part, asking);
      case 'also':
        return { answer: await this.#also(part, asking) };
    }
  }

  async #ours({ document, variables }: Part, { ask, caller, signal }: Asking): Promise<ExecutionResult> {
    return await this.#options.own().execute(document, { variables, operationName: ask.operationName }, caller, signal);
  }

  #schema({ document, variables }: Part, { application, signal }: Asking): Promise<ExecutionResult> {
    const key = Object.keys(variables).length === 0 ? print(document) : null;
    return this.#options.introspection.answer(document, { application, key, variables }, signal);
  }

  async #theirs({ document, variables }: Part, asking: Asking): Promise<Came> {
    const { operationName } = asking.ask;
    const body = JSON.stringify({ query: print(document), variables, operationName });
    const reply = await this.#pass(asking, body);
    const answer = reply.status === 200 ? answerOf(reply.body) : null;
    return answer === null ? { reply } : { answer: withoutPlaces(answer) };
  }

  /** What it does not know, or cannot say now, or not to whoever asks, is left out. */
  async #also(part: Part, asking: Asking): Promise<PartAnswer> {
    const { application, caller, signal } = asking;
    if (!application.isThere || !mayReach(caller)) return NOTHING;
    try {
      const came = await this.#theirs(part, asking);
      return 'answer' in came && came.answer.errors === undefined ? came.answer : NOTHING;
    } catch {
      signal.throwIfAborted();
      return NOTHING;
    }
  }

  /** The application's own credentials go out with it, and do not come back. */
  async #pass({ ask, caller, application, operation, signal }: Asking, body: string): Promise<GraphqlReply> {
    const { holder, apiKey } = caller;
    const { chains } = this.#options;
    const chain = holder === null ? undefined : chains.sealed(holder);
    const isChange = operation.operation.operation === 'mutation' && holder !== null;
    using _changing = isChange ? chains.changing(holder) : null;
    const reply = await application.graphql(body, signal, chain, apiKey);
    const isForPeople = holder === null;
    const answer = isForPeople || mayAskForKey(ask.query) ? answerOf(reply.body) : null;
    // A plugin knows what to do with it. Whoever asks us would take it for our own answer.
    if (isForPeople && (answer === null || (answer.data === undefined && answer.errors === undefined))) {
      throw new Failure('application_error', `The application answered with status ${reply.status}, and no GraphQL`);
    }
    if (answer === null || !mayAskForKey(ask.query)) return reply;
    return {
      status: reply.status,
      body: JSON.stringify({ ...answer, data: withoutKeys(answer.data, operation, apiKey) }),
    };
  }
}

/** Null for what is no answer of GraphQL. Where something stood in the query is not told: it was another one. */
function answerOf(body: string): PartAnswer | null {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const { data, errors, extensions } = value as Record<string, unknown>;
  return {
    ...(data === undefined ? {} : { data }),
    ...(Array.isArray(errors) ? { errors } : {}),
    ...(extensions === undefined ? {} : { extensions }),
  };
}

const NOTHING: PartAnswer = { data: {} };

/** Places are those in a document that we have written. */
function withoutPlaces({ errors, ...rest }: PartAnswer): PartAnswer {
  if (errors === undefined) return rest;
  const known = errors.map((one) => (typeof one === 'object' && one !== null ? { ...one, locations: undefined } : one));
  return { ...rest, errors: known };
}

/** A plugin calls back for its tenant. Whoever has a token does so with the application's credentials. */
function mayReach({ holder, scopes }: GraphqlCaller): boolean {
  return holder !== null || includes(scopes, 'manage');
}

function refuseForeign(caller: GraphqlCaller): void {
  if (mayReach(caller)) return;
  throw new Failure('forbidden', 'Fields of the application need a token with the scope "manage"');
}
