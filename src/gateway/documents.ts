import { type DocumentNode, GraphQLError, type OperationDefinitionNode, parse } from 'graphql';
import { Failure } from '../core/failure.ts';
import { QUERY_LETTERS_MOST, QUERY_TOKENS_MOST } from '../core/graphql.ts';
import { API_KEY } from './keys.ts';
import { type Fragments, fragmentsOf, type Measure, measured } from './measure.ts';

export type DocumentLimits = {
  /** Levels of selections, one in the other, and selections in all: fragments count wherever they are spread. */
  depth: number;
  fields: number;
};

/** An operation that was asked for, read and found to be within bounds. */
export type Operation = {
  document: DocumentNode;
  operation: OperationDefinitionNode;
  fragments: Fragments;
  /** Whether it asks for the key of the application, under whatever name. */
  hasKey: boolean;
};

/** Fields of the application that are asked for side by side, each of which may be work for it. */
const ROOTS_MOST = 200;
/** What is remembered of documents, in letters, each of which may take a hundred bytes, and by number. */
const LETTERS_KEPT = 500_000;
const KEPT_MOST = 500;

type Read = {
  document: DocumentNode;
  fragments: Fragments;
  operations: readonly OperationDefinitionNode[];
  /** Of those that were asked for. */
  measures: Map<OperationDefinitionNode, Measure>;
};

/** Reads documents, and remembers what was read last: a plugin asks the same again and again. */
export class Documents {
  readonly #limits: DocumentLimits;
  readonly #read = new Map<string, Read>();
  #letters = 0;

  constructor(limits: DocumentLimits) {
    this.#limits = limits;
  }

  /** Whether it is known, so that nothing has to be read. */
  has(query: string): boolean {
    return this.#read.has(query);
  }

  /** Throws `invalid_request`; `payload_too_large` where it is beyond a bound. */
  operation(query: string, name: string | null | undefined): Operation {
    const known = this.#known(query);
    const read = known ?? readOf(query);
    const { document, fragments, operations } = read;
    const operation = name ? operations.find((one) => one.name?.value === name) : operations[0];
    if (operation === undefined) {
      const words = name ? `There is no operation ${JSON.stringify(name)}` : 'There is no operation';
      throw new Failure('invalid_request', words);
    }
    if (!name && operations.length > 1) {
      throw new Failure('invalid_request', 'There are several operations, and no operationName says which is meant');
    }
    const measure = read.measures.get(operation) ?? measureOf(operation, fragments, this.#limits.fields);
    this.#judge(measure);
    read.measures.set(operation, measure);
    if (known === undefined) this.#keep(query, read);
    return { document, operation, fragments, hasKey: measure.hasKey };
  }

  #judge({ depth, fields, roots }: Measure): void {
    const bounds = [
      ['gateway.depth', this.#limits.depth, depth, 'is nested deeper than'],
      ['gateway.fields', this.#limits.fields, fields, 'selects more fields than'],
      ['rootFields', ROOTS_MOST, roots, 'has more fields side by side than'],
    ] as const;
    for (const [bound, allowed, observed, words] of bounds) {
      if (observed <= allowed) continue;
      const limit = { name: bound, allowed, observed, unit: 'count' } as const;
      throw new Failure('payload_too_large', `The operation ${words} the ${allowed} that it may have`, { limit });
    }
  }

  #known(query: string): Read | undefined {
    const read = this.#read.get(query);
    if (read === undefined) return undefined;
    // The last one used is the last one to be forgotten.
    this.#read.delete(query);
    this.#read.set(query, read);
    return read;
  }

  #keep(query: string, read: Read): void {
    this.#read.set(query, read);
    this.#letters += query.length;
    this.#forget();
  }

  #forget(): void {
    for (const query of this.#read.keys()) {
      if (this.#letters <= LETTERS_KEPT && this.#read.size <= KEPT_MOST) return;
      this.#read.delete(query);
      this.#letters -= query.length;
    }
  }
}

function readOf(query: string): Read {
  if (query.length > QUERY_LETTERS_MOST) throw tooLong(query.length);
  return unlessTooDeep(() => {
    const document = parse(query, { maxTokens: QUERY_TOKENS_MOST, noLocation: true });
    const operations = document.definitions.filter((one) => one.kind === 'OperationDefinition');
    return { document, fragments: fragmentsOf(document), operations, measures: new Map() };
  });
}

function measureOf({ selectionSet }: OperationDefinitionNode, fragments: Fragments, enough: number): Measure {
  return unlessTooDeep(() => measured(selectionSet, fragments, { enough, keyName: API_KEY }));
}

/** Throws `invalid_request` for what is no GraphQL, and for what the stack is not deep enough for. */
function unlessTooDeep<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof GraphQLError)
      throw new Failure('invalid_request', `The query cannot be read: ${error.message}`);
    if (error instanceof RangeError) throw new Failure('invalid_request', 'The query is nested too deeply to be read');
    throw error;
  }
}

function tooLong(observed: number): Failure {
  const limit = { name: 'query', allowed: QUERY_LETTERS_MOST, observed, unit: 'count' } as const;
  return new Failure(
    'payload_too_large',
    `A query has ${QUERY_LETTERS_MOST} letters at most: what is long belongs into variables`,
    {
      limit,
    },
  );
}
