import {
  type DefinitionNode,
  type DocumentNode,
  extendSchema,
  type FieldDefinitionNode,
  type GraphQLSchema,
  isObjectType,
  Kind,
  type ObjectTypeDefinitionNode,
  parse,
  printSchema,
} from 'graphql';

/** The application's schema, with those of our types and fields in it that it does not have. */
export function united(theirs: GraphQLSchema, ours: GraphQLSchema): GraphQLSchema {
  const printed = printSchema(ours);
  if (printed === '') return theirs;
  const definitions = parse(printed).definitions.flatMap((one) => missing(one, theirs));
  const document: DocumentNode = { kind: Kind.DOCUMENT, definitions };
  // It is for telling, not for executing; where the two do not agree, theirs stays as it is.
  return definitions.length === 0 ? theirs : extendSchema(theirs, document, { assumeValid: true });
}

function missing(definition: DefinitionNode, theirs: GraphQLSchema): DefinitionNode[] {
  if (!('name' in definition) || definition.name === undefined) return [];
  if (definition.kind === Kind.DIRECTIVE_DEFINITION)
    return theirs.getDirective(definition.name.value) ? [] : [definition];
  const known = theirs.getType(rootName(definition.name.value, theirs));
  if (known === undefined || known === null) return [definition];
  if (definition.kind !== Kind.OBJECT_TYPE_DEFINITION || !isObjectType(known)) return [];
  const fields = (definition.fields ?? []).filter(({ name }) => known.getFields()[name.value] === undefined);
  return fields.length === 0 ? [] : [extension(definition, known.name, fields)];
}

function extension(
  { name }: ObjectTypeDefinitionNode,
  known: string,
  fields: readonly FieldDefinitionNode[],
): DefinitionNode {
  return { kind: Kind.OBJECT_TYPE_EXTENSION, name: { ...name, value: known }, fields };
}

/** Their root types may be called otherwise. */
function rootName(name: string, theirs: GraphQLSchema): string {
  if (name === 'Query') return theirs.getQueryType()?.name ?? name;
  if (name === 'Mutation') return theirs.getMutationType()?.name ?? name;
  if (name === 'Subscription') return theirs.getSubscriptionType()?.name ?? name;
  return name;
}
