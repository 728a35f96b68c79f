import {
  buildClientSchema,
  type DocumentNode,
  type ExecutionResult,
  execute,
  type GraphQLSchema,
  getIntrospectionQuery,
  type IntrospectionQuery,
  OverlappingFieldsCanBeMergedRule,
  specifiedRules,
  validate,
} from 'graphql';
import type { Application } from '../core/application.ts';
import { Failure } from '../core/failure.ts';
import { refuseCostly } from './introspection-cost.ts';
import { united } from './united-schema.ts';

/** For so long an application's schema is taken to be as it was. */
const KNOWN_MS = 300_000;
/** One that could not be had is asked for again after this. */
const AGAIN_MS = 2_000;
/** Answers that are remembered of each schema, in number and letters. */
const ANSWERS_MOST = 16;
const ANSWER_LETTERS = 4_000_000;

type Known = { schema: GraphQLSchema; answers: Map<string, string> };

type Entry = { known: Promise<Known>; until: number };

/** What the schema of an application is together with ours, and what is asked about it. */
export class Introspection {
  readonly #ours: () => GraphQLSchema;
  readonly #byApplication = new WeakMap<Application, Entry>();
  #alone: Known | undefined;

  constructor(ours: () => GraphQLSchema) {
    this.#ours = ours;
  }

  /**
   * The answer to a document that asks about the schema and nothing else. `key`: whoever asks with the same gets the
   * same, so it is not worked out again; null where it depends on more.
   */
  async answer(
    document: DocumentNode,
    {
      application,
      key,
      variables,
    }: { application: Application | null; key: string | null; variables: Record<string, unknown> },
    signal: AbortSignal,
  ): Promise<ExecutionResult> {
    const known = await this.#known(application, signal);
    const kept = key === null ? undefined : known.answers.get(key);
    if (kept !== undefined) return JSON.parse(kept) as ExecutionResult;
    refuseCostly(document, known.schema);
    const errors = validate(known.schema, document, RULES, { maxErrors: 10 });
    if (errors.length > 0) return { errors };
    const result = await execute({ schema: known.schema, document, variableValues: variables });
    if (key !== null && result.errors === undefined) keep(known.answers, key, JSON.stringify(result));
    return result;
  }

  #known(application: Application | null, signal: AbortSignal): Promise<Known> {
    if (application === null || !application.isThere) {
      this.#alone ??= { schema: this.#ours(), answers: new Map() };
      return Promise.resolve(this.#alone);
    }
    const now = Date.now();
    const entry = this.#byApplication.get(application);
    if (entry !== undefined && entry.until > now) return abortable(entry.known, signal);
    const known = this.#learn(application);
    const next = { known, until: now + KNOWN_MS };
    this.#byApplication.set(application, next);
    known.catch(() => {
      next.until = Math.min(next.until, Date.now() + AGAIN_MS);
    });
    return abortable(known, signal);
  }

  /** Not with the signal of whoever asks first: others wait for the same. */
  async #learn(application: Application): Promise<Known> {
    const body = JSON.stringify({ query: getIntrospectionQuery() });
    const answer = await application.graphql(body, AbortSignal.timeout(LEARN_MS));
    return { schema: united(schemaOf(answer), this.#ours()), answers: new Map() };
  }
}

const LEARN_MS = 15_000;

function schemaOf({ status, body }: { status: number; body: string }): GraphQLSchema {
  try {
    if (status !== 200) throw new Error(`status ${status}`);
    const { data } = JSON.parse(body) as { data?: IntrospectionQuery };
    if (data === undefined || data === null) throw new Error('it has no data');
    return buildClientSchema(data, { assumeValid: true });
  } catch (cause) {
    throw new Failure(
      'application_error',
      'The application does not tell its schema, so there is none to answer with',
      {
        cause,
      },
    );
  }
}

/** One of them compares each field with each other one, for the sake of clients that want types. */
const RULES = specifiedRules.filter((one) => one !== OverlappingFieldsCanBeMergedRule);

function keep(answers: Map<string, string>, key: string, text: string): void {
  if (key.length + text.length > ANSWER_LETTERS) return;
  answers.set(key, text);
  for (const oldest of answers.keys()) {
    if (answers.size <= ANSWERS_MOST) return;
    answers.delete(oldest);
  }
}

/** Rejects with the reason when the signal aborts; what is waited for goes on. */
async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let abort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
