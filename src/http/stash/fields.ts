import {
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  execute,
  GraphQLError,
  type GraphQLSchema,
  OverlappingFieldsCanBeMergedRule,
  specifiedRules,
  subscribe,
  validate,
} from 'graphql';
import type { FieldOwner, GraphqlAsk, GraphqlCaller, OwnFields } from '../../core/graphql.ts';
import { isOurNumber, jobNumberIn } from '../../core/job-number.ts';
import { Pace } from '../../core/pace.ts';
import { noTenant } from '../../engine/invoker.ts';
import type { Asking, StashParts } from './asking.ts';
import { Budget } from './budget.ts';
import { errorOf, shown } from './graphql-errors.ts';
import { hooks } from './hooks.ts';
import { mutations } from './mutation.ts';
import { queries } from './query.ts';
import { stashSchema } from './schema.ts';
import { subscriptions } from './subscription.ts';

type Ask = Pick<GraphqlAsk, 'variables' | 'operationName'>;

/** The fields of Stash's GraphQL that are about plugins and jobs, which are ours. */
export class StashFields implements OwnFields {
  readonly schema: GraphQLSchema = stashSchema();
  readonly #parts: StashParts;
  readonly #root: object;
  readonly #pace = new Pace();

  constructor(parts: StashParts) {
    this.#parts = parts;
    this.#root = { ...queries(parts), ...mutations(parts), ...hooks(parts), ...subscriptions(parts) };
  }

  ownerOf(type: string, field: string, args: Record<string, unknown>, alone: boolean): FieldOwner {
    const owner = OWNERS.get(`${type}.${field}`);
    if (owner === undefined) return 'theirs';
    if (alone) return 'ours';
    return typeof owner === 'string' ? owner : owner(args);
  }

  async execute(
    document: DocumentNode,
    ask: Ask,
    caller: GraphqlCaller,
    signal: AbortSignal,
  ): Promise<ExecutionResult> {
    const budget = new Budget(signal);
    const args = await this.#begun(document, ask, caller, budget.signal);
    if ('errors' in args) return args;
    try {
      return this.shown(await execute({ ...args, fieldResolver: budget.resolve }));
    } catch (error) {
      // What it throws then is an error of its own.
      signal.throwIfAborted();
      if (budget.failure !== null) return { errors: [errorOf(budget.failure)] };
      throw error;
    }
  }

  /** Of a document with a subscription of ours: the events, until their reader is done; or what is wrong with it. */
  async subscribe(
    document: DocumentNode,
    ask: Ask,
    caller: GraphqlCaller,
    signal: AbortSignal,
  ): Promise<AsyncGenerator<ExecutionResult> | ExecutionResult> {
    const args = await this.#begun(document, ask, caller, signal);
    if ('errors' in args) return args;
    const events = await subscribe(args);
    return Symbol.asyncIterator in events ? events : this.shown(events);
  }

  /** What it is executed with, when it is its turn; or what is wrong with it. */
  async #begun(
    document: DocumentNode,
    { variables, operationName }: Ask,
    caller: GraphqlCaller,
    signal: AbortSignal,
  ): Promise<ExecutionArgs | { errors: readonly GraphQLError[] }> {
    await this.#pace.turn(caller.tenant);
    const errors = validate(this.schema, document, RULES, VALIDATION);
    if (errors.length > 0) return { errors: cut(errors) };
    const { tenancies, keep } = this.#parts;
    const tenancy = await tenancies.find(caller.tenant);
    if (tenancy === undefined) return { errors: [errorOf(noTenant(caller.tenant))] };
    const { jobs, events } = keep(tenancy.id);
    const contextValue: Asking = { caller, tenancy, jobs, events, signal };
    return {
      schema: this.schema,
      document,
      rootValue: this.#root,
      contextValue,
      variableValues: variables ?? {},
      operationName,
      abortSignal: signal,
      options: { maxCoercionErrors: VALIDATION.maxErrors },
    };
  }

  /** Whose errors are as callers may see them. */
  shown(result: ExecutionResult): ExecutionResult {
    if (result.errors === undefined) return result;
    return { ...result, errors: cut(result.errors.map((error) => shown(error, this.#parts.bug))) };
  }
}

/** Each error may show all that was sent. */
const VALIDATION = { maxErrors: 5 };
const MESSAGE_LETTERS = 1_000;

/** Errors that are not longer than anybody reads. */
function cut(errors: readonly GraphQLError[]): GraphQLError[] {
  return errors.map((error) =>
    error.message.length <= MESSAGE_LETTERS ? error : shortened(error, `${error.message.slice(0, MESSAGE_LETTERS)}…`),
  );
}

function shortened({ path, extensions }: GraphQLError, message: string): GraphQLError {
  return new GraphQLError(message, { path, extensions });
}

// It compares all with all, which takes seconds for what is within every bound; without it the first of them counts.
const RULES = specifiedRules.filter((rule) => rule !== OverlappingFieldsCanBeMergedRule);

type Owner = FieldOwner | ((args: Record<string, unknown>) => FieldOwner);

const OWNERS: ReadonlyMap<string, Owner> = new Map<string, Owner>([
  ['Query.plugins', 'ours'],
  ['Query.pluginTasks', 'ours'],
  ['Query.configuration', 'both'],
  ['Query.jobQueue', 'also'],
  ['Query.findJob', ({ input }) => ownerOfJob((input as { id?: unknown } | null | undefined)?.id)],
  ['Query.logs', 'ours'],
  ['Query.version', 'theirs'],
  ['Mutation.runPluginTask', 'ours'],
  ['Mutation.runPluginOperation', 'ours'],
  ['Mutation.reloadPlugins', 'ours'],
  ['Mutation.configurePlugin', 'ours'],
  ['Mutation.setPluginsEnabled', 'ours'],
  ['Mutation.stopJob', ({ job_id }) => ownerOfJob(job_id)],
  ['Mutation.stopAllJobs', 'also'],
  ['Mutation.generateAPIKey', 'ours'],
  ['Mutation.runHooks', 'ours'],
  ['Subscription.jobsSubscribe', 'ours'],
  ['Subscription.loggingSubscribe', 'ours'],
  ['ConfigResult.plugins', 'ours'],
  ['ConfigResult.general', 'both'],
  ['ConfigGeneralResult.apiKey', 'ours'],
]);

/** By its number; what is none is for us to refuse. */
function ownerOfJob(id: unknown): FieldOwner {
  const number = typeof id === 'string' || typeof id === 'number' ? jobNumberIn(String(id)) : null;
  return number === null || isOurNumber(number) ? 'ours' : 'also';
}
