/**
 * Which parts of an operation are answered by whom.
 *
 * An operation is taken apart into its fields on the first level, each with whatever stood around it: fragments on that
 * level become inline fragments, so that directives and type conditions stay. A field that is `both` ours and the
 * application's is taken apart in the same way, one level further down. What belongs to the same answerer is put
 * together again into an operation of its own, with the variables and the fragments that it still uses. Names that the
 * caller gave (aliases) are left alone, so answers and the paths of errors fit as they are. Mutations are done in the
 * order in which they stand, so of those only neighbours are put together.
 */
import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLObjectType,
  type InlineFragmentNode,
  isNonNullType,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  type SelectionNode,
  type SelectionSetNode,
  valueFromASTUntyped,
  visit,
} from 'graphql';
import type { FieldOwner, OwnFields } from '../core/graphql.ts';
import type { Operation } from './documents.ts';
import type { Fragments } from './measure.ts';

/** Who answers a part: we do, the application does, the schema of both tells, or the application does if it can. */
export type Answerer = 'ours' | 'theirs' | 'schema' | 'also';

export type Part = { answerer: Answerer; document: DocumentNode; variables: Record<string, unknown> };

export type Split = {
  /** In the order in which they are to be asked where that matters. */
  parts: readonly Part[];
  /** Fields that both answer, and that are put together from two answers. */
  shared: ReadonlySet<FieldNode>;
};

type Variables = Record<string, unknown>;

/** A field of the first level with what stands around it. */
type Piece = { answerer: Answerer | 'anyone'; selection: SelectionNode };

/** `alone`: there is no application, so some of what would be its is ours. */
export function split(
  { document, operation, fragments }: Operation,
  variables: Variables,
  own: OwnFields,
  alone: boolean,
): Split {
  const shared = new Set<FieldNode>();
  const given = withDefaults(operation, variables);
  const root = own.schema.getRootType(operation.operation) ?? null;
  const splitter = new Splitter(fragments, shared, (type, field) =>
    own.ownerOf(type, field.name.value, argumentsOf(field, given), alone),
  );
  const pieces = splitter.pieces(operation.selectionSet, root);
  const groups = operation.operation === 'mutation' ? neighbours(pieces) : families(pieces);
  const [only] = groups;
  // It is passed on as it came: the usual case.
  if (only?.answerer === 'theirs' && groups.length === 1) {
    return { parts: [{ answerer: 'theirs', document, variables }], shared };
  }
  const parts = groups.map(({ answerer, selections }) => ({
    answerer,
    ...documentOf(operation, selections, fragments, variables),
  }));
  return { parts, shared };
}

class Splitter {
  readonly #fragments: Fragments;
  readonly #shared: Set<FieldNode>;
  readonly #ownerOf: (type: string, field: FieldNode) => FieldOwner;

  constructor(fragments: Fragments, shared: Set<FieldNode>, ownerOf: (type: string, field: FieldNode) => FieldOwner) {
    this.#fragments = fragments;
    this.#shared = shared;
    this.#ownerOf = ownerOf;
  }

  /** `type`: that of ours whose fields these are; null where we have none of that kind. */
  pieces({ selections }: SelectionSetNode, type: GraphQLObjectType | null): Piece[] {
    return selections.flatMap((one): Piece[] => {
      if (one.kind === Kind.FIELD) return this.#field(one, type);
      const { inner, around } = this.#fragment(one);
      if (inner === undefined) return [{ answerer: 'theirs', selection: one }];
      return this.pieces(inner, type).map(({ answerer, selection }) => ({
        answerer,
        selection: { ...around, selectionSet: { kind: Kind.SELECTION_SET, selections: [selection] } },
      }));
    });
  }

  /** What is in a fragment, and what stands around it: nothing is lost of either when it is written in place. */
  #fragment(one: Exclude<SelectionNode, FieldNode>): {
    inner: SelectionSetNode | undefined;
    around: Omit<InlineFragmentNode, 'selectionSet'>;
  } {
    if (one.kind === Kind.INLINE_FRAGMENT) {
      const { selectionSet, ...around } = one;
      return { inner: selectionSet, around };
    }
    const fragment = this.#fragments.get(one.name.value);
    const directives = [...(one.directives ?? []), ...(fragment?.directives ?? [])];
    return {
      inner: fragment?.selectionSet,
      around: {
        kind: Kind.INLINE_FRAGMENT,
        directives,
        ...(fragment === undefined ? {} : { typeCondition: fragment.typeCondition }),
      },
    };
  }

  #field(field: FieldNode, type: GraphQLObjectType | null): Piece[] {
    const name = field.name.value;
    if (name === '__typename') return [{ answerer: 'anyone', selection: field }];
    if (name === '__schema' || name === '__type') return [{ answerer: 'schema', selection: field }];
    const known = type?.getFields()[name];
    if (type === null || known === undefined) return [{ answerer: 'theirs', selection: field }];
    const owner = this.#ownerOf(type.name, field);
    if (owner === 'ours' || owner === 'theirs') return [{ answerer: owner, selection: field }];
    if (owner === 'also') {
      return [
        { answerer: 'ours', selection: field },
        { answerer: 'also', selection: field },
      ];
    }
    const inner = isNonNullType(known.type) ? known.type.ofType : known.type;
    // What is wrong with it is for us to say.
    if (!isObjectType(inner) || field.selectionSet === undefined) return [{ answerer: 'ours', selection: field }];
    this.#shared.add(field);
    return families(this.pieces(field.selectionSet, inner)).map(({ answerer, selections }) => ({
      answerer,
      selection: { ...field, selectionSet: { kind: Kind.SELECTION_SET, selections } },
    }));
  }
}

/** Without the types of a schema: what is wrong with them is said by whoever answers the field. */
function argumentsOf(field: FieldNode, variables: Variables): Variables {
  return Object.fromEntries(
    (field.arguments ?? []).map(({ name, value }) => [name.value, valueFromASTUntyped(value, variables)]),
  );
}

/** Those that were not given, as the operation says. */
function withDefaults({ variableDefinitions = [] }: OperationDefinitionNode, variables: Variables): Variables {
  const defaults = variableDefinitions.flatMap(({ variable, defaultValue }) =>
    defaultValue === undefined ? [] : [[variable.name.value, valueFromASTUntyped(defaultValue)]],
  );
  return { ...Object.fromEntries(defaults), ...variables };
}

type Group = { answerer: Answerer; selections: SelectionNode[] };

/** All that one answers together. */
function families(pieces: readonly Piece[]): Group[] {
  const groups = new Map<Answerer, SelectionNode[]>();
  const home = pieces.find(({ answerer }) => answerer !== 'anyone' && answerer !== 'also')?.answerer ?? 'ours';
  for (const { answerer, selection } of pieces) {
    const whose = answerer === 'anyone' ? (home as Answerer) : answerer;
    const group = groups.get(whose);
    if (group === undefined) groups.set(whose, [selection]);
    else group.push(selection);
  }
  return [...groups].map(([answerer, selections]) => ({ answerer, selections }));
}

/** What stands side by side and has the same answerer. */
function neighbours(pieces: readonly Piece[]): Group[] {
  const groups: Group[] = [];
  for (const { answerer, selection } of pieces) {
    const last = groups.at(-1);
    // What may be left out takes nothing else with it.
    const joins = answerer === last?.answerer || (answerer === 'anyone' && last?.answerer !== 'also');
    if (last !== undefined && joins) last.selections.push(selection);
    else groups.push({ answerer: answerer === 'anyone' ? 'ours' : answerer, selections: [selection] });
  }
  return groups;
}

function documentOf(
  operation: OperationDefinitionNode,
  selections: SelectionNode[],
  fragments: Fragments,
  variables: Variables,
): Pick<Part, 'document' | 'variables'> {
  const selectionSet: SelectionSetNode = { kind: Kind.SELECTION_SET, selections };
  const used = new Set<string>();
  const spread = new Map<string, FragmentDefinitionNode>();
  const note = (node: SelectionSetNode | OperationDefinitionNode | FragmentDefinitionNode): void => {
    visit(node, {
      Variable: ({ name }) => {
        used.add(name.value);
      },
      FragmentSpread: ({ name }) => {
        const fragment = fragments.get(name.value);
        if (fragment === undefined || spread.has(name.value)) return;
        spread.set(name.value, fragment);
        note(fragment);
      },
    });
  };
  // The operation's own definitions of variables name them, too: those do not count as uses.
  note({ ...operation, variableDefinitions: [], selectionSet });
  const variableDefinitions = operation.variableDefinitions?.filter((one) => used.has(one.variable.name.value)) ?? [];
  return {
    document: {
      kind: Kind.DOCUMENT,
      definitions: [{ ...operation, variableDefinitions, selectionSet }, ...spread.values()],
    },
    variables: Object.fromEntries(Object.entries(variables).filter(([name]) => used.has(name))),
  };
}
