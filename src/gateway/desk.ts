import { type ExecutionResult, print } from 'graphql';
import type { Application } from '../core/application.ts';
import { Failure } from '../core/failure.ts';
import type { GraphqlAsk, GraphqlCaller, GraphqlDesk, GraphqlReply, OwnFields } from '../core/graphql.ts';
import { Pace } from '../core/pace.ts';
import { includes } from '../core/tenant.ts';
import type { SealedChains } from './chains.ts';
import type { Documents, Operation } from './documents.ts';
import type { Introspection } from './introspection.ts';
import { withoutKeys } from './keys.ts';
import { merged, type PartAnswer } from './merge.ts';
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
  readonly #pace = new Pace();

  constructor(options: DeskOptions) {
    this.#options = options;
  }

  async ask(ask: GraphqlAsk, caller: GraphqlCaller, signal: AbortSignal): Promise<GraphqlReply> {
    try {
      return await this.#ask(ask, caller, signal);
    } catch (error) {
      // The stack was not deep enough for what was asked, or answered.
      if (error instanceof RangeError) throw new Failure('payload_too_large', 'This is nested too deeply, or too long');
      throw error;
    }
  }

  async #ask(ask: GraphqlAsk, caller: GraphqlCaller, signal: AbortSignal): Promise<GraphqlReply> {
    const { documents, own, applicationOf } = this.#options;
    if (!documents.has(ask.query)) await this.#pace.turn(caller.tenant);
    const operation = documents.operation(ask.query, ask.operationName);
    if (operation.operation.operation === 'subscription') {
      throw new Failure('invalid_request', 'A subscription comes over a WebSocket, and from nowhere else');
    }
    const application = applicationOf(caller.tenant);
    const { parts, shared } = split(operation, ask.variables ?? {}, own(), !application.isThere);
    const asking = { ask, caller, application, operation, signal };
    if (parts.some(({ answerer }) => answerer === 'theirs')) refuseForeign(caller);
    const [only] = parts;
    // Not as it came: what is passed on has to be what was looked at, however it is read there.
    if (only?.answerer === 'theirs' && parts.length === 1) return await this.#pass(asking, bodyOf(ask));

    await this.#pace.turn(caller.tenant);
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

  #schema({ document, variables }: Part, { application, caller, signal }: Asking): Promise<ExecutionResult> {
    const key = Object.keys(variables).length === 0 ? print(document) : null;
    // Who must not ask the application is told of what is ours.
    const whose = mayReach(caller) ? application : null;
    return this.#options.introspection.answer(document, { application: whose, key, variables }, signal);
  }

  async #theirs({ document, variables }: Part, asking: Asking): Promise<Came> {
    const { operationName } = asking.ask;
    const reply = await this.#send(asking, bodyOf({ query: print(document), variables, operationName }));
    await this.#pace.turn(asking.caller.tenant);
    const answer = reply.status === 200 ? answerOf(reply.body) : null;
    if (answer === null) return { reply: keyless(reply, asking) };
    return { answer: withoutPlaces(keylessAnswer(answer, asking)) };
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

  /** All of it, as the application has answered. */
  async #pass(asking: Asking, body: string): Promise<GraphqlReply> {
    const reply = await this.#send(asking, body);
    if (!asking.operation.hasKey) return reply;
    await this.#pace.turn(asking.caller.tenant);
    return keyless(reply, asking);
  }

  /** The application's own credentials go out with it, and do not come back. */
  async #send({ caller, application, operation, signal }: Asking, body: string): Promise<GraphqlReply> {
    const { holder, apiKey } = caller;
    const { chains } = this.#options;
    const chain = holder === null ? undefined : chains.sealed(holder);
    const isChange = operation.operation.operation === 'mutation' && holder !== null;
    using _changing = isChange ? chains.changing(holder) : null;
    const reply = await application.graphql(body, signal, chain, apiKey);
    // A plugin knows what to do with it. Whoever asks us would take it for our own answer.
    if (holder === null && !looksLikeAnswer(reply)) {
      throw new Failure('application_error', `The application answered with status ${reply.status}, and no GraphQL`);
    }
    return reply;
  }
}

/** With the caller's own key wherever the application has told its own. */
function keyless(reply: GraphqlReply, asking: Asking): GraphqlReply {
  const answer = asking.operation.hasKey ? answerOf(reply.body) : null;
  return answer === null ? reply : { ...reply, body: JSON.stringify(keylessAnswer(answer, asking)) };
}

function keylessAnswer(answer: PartAnswer, { operation, caller }: Asking): PartAnswer {
  return operation.hasKey ? { ...answer, data: withoutKeys(answer.data, operation, caller.apiKey) } : answer;
}

/** In a fixed form: some read names without regard to case, and of two the last one. */
function bodyOf({ query, variables, operationName }: GraphqlAsk): string {
  return JSON.stringify({ query, variables, operationName });
}

/** What has to be taken apart takes a moment for each MB, in which nobody else is served. */
const READ_LETTERS = 4 * 1024 * 1024;

function looksLikeAnswer({ status, body }: GraphqlReply): boolean {
  if (status === 200) return /^\s{0,100}\{\s{0,100}"/.test(body);
  const answer = body.length > READ_LETTERS ? null : answerOf(body);
  return answer?.errors !== undefined;
}

/** Null for what is no answer of GraphQL. Where something stood in the query is not told: it was another one. */
function answerOf(body: string): PartAnswer | null {
  if (body.length > READ_LETTERS) throw tooLong(body.length);
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

function tooLong(observed: number): Failure {
  const limit = { name: 'mergedLetters', allowed: READ_LETTERS, observed, unit: 'count' } as const;
  const words = 'The application answered with more than can be put together with what is ours: ask for it by itself';
  return new Failure('application_error', words, { limit });
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
