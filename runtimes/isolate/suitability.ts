/**
 * Finds out, by reading a program, in which ways it may be run.
 *
 * *Brief* (synchronously, on a shared main thread) suits programs that make no promise: promise reactions run
 * outside the engine's time limit.
 *
 * *Frozen* (in one realm whose intrinsics are frozen) suits programs that cannot tell. The rule of the house is: only
 * success counts in a frozen realm, and whatever fails there is run again in a fresh context. So a program may come
 * here if every difference that it could meet makes it fail. The differences are
 *   - the intrinsics cannot be changed: a write to one throws a TypeError;
 *   - nor can a property be assigned that an object inherits from a frozen one: a TypeError again;
 *   - top-level `var` and functions are no properties of the global object, and `this` there is not that object;
 *   - code made from strings does not see `input`, `log` and so on;
 *   - `RegExp.$1` and its like, weak references, and stack traces tell of the realm.
 * A program that names any of the latter, or catches errors where one of the former could be the error, stays with
 * fresh contexts. In doubt it stays: this errs to one side only.
 *
 * Runs in a worker thread, since the source is a stranger's.
 */
import { runInNewContext } from 'node:vm';
import { type Node, parse } from 'acorn';
import { ancestor } from 'acorn-walk';

export type Suitability =
  | { brief: true; frozen: boolean; because: string }
  | { brief: false; frozen: false; because: string };

const SOURCE_MOST = 512 * 1024;

/** The global names of the language, without those of Node. */
const BUILTINS: ReadonlySet<string> = new Set(runInNewContext('Object.getOwnPropertyNames(globalThis)') as string[]);

/** What the program finds besides the language itself. */
const HOST_GLOBALS = new Set(['input', 'log', 'gql', 'util', 'console']);

/** Names that lead to code from strings, to the global object, or to state that outlives a run. */
const TELLING_NAMES: ReadonlyMap<string, string> = new Map(
  Object.entries({
    eval: 'code from strings',
    Function: 'code from strings',
    globalThis: 'the global object',
    Reflect: 'reflection',
    Proxy: 'proxies',
    WeakRef: 'weak references',
    FinalizationRegistry: 'weak references',
    ShadowRealm: 'realms',
    Iterator: 'a constructor whose prototype plugins extend',
  }),
);

/** Property names that lead to intrinsics, or tell one realm from another. */
const TELLING_PROPERTIES = new Set([
  'prototype',
  '__proto__',
  'constructor',
  'getPrototypeOf',
  'setPrototypeOf',
  '__defineGetter__',
  '__defineSetter__',
  '__lookupGetter__',
  '__lookupSetter__',
  'isFrozen',
  'isSealed',
  'isExtensible',
  'getOwnPropertyDescriptor',
  'getOwnPropertyDescriptors',
  'stack',
  'captureStackTrace',
  'prepareStackTrace',
  'stackTraceLimit',
  'caller',
  'callee',
]);

/** Built-ins that are often handed over as functions, which changes nothing. */
const HANDED_OVER = new Set(['Number', 'String', 'Boolean', 'parseInt', 'parseFloat', 'isNaN', 'isFinite']);
const TAKES_FUNCTION = new Set([
  'map',
  'filter',
  'some',
  'every',
  'find',
  'findIndex',
  'findLast',
  'forEach',
  'flatMap',
  'sort',
  'from',
]);

type Any = Node & Record<string, unknown>;

/** Thrown inside to end the walk at the first thing found. */
class Finding {
  readonly why: string;
  readonly line: number;
  constructor(why: string, line: number) {
    this.why = why;
    this.line = line;
  }
}

/** Judges source text. Never throws. */
export default function judge(source: string): Suitability {
  if (source.length > SOURCE_MOST) return no('its source is too long to be read ahead');
  let program: Node;
  try {
    program = parse(`"use strict";${source}`, { ecmaVersion: 'latest', sourceType: 'script', locations: true });
  } catch {
    return no('its source could not be read ahead');
  }
  try {
    lookForPromises(program);
  } catch (found) {
    return no(words(found));
  }
  try {
    lookForTelltales(program);
  } catch (found) {
    return { brief: true, frozen: false, because: words(found) };
  }
  return { brief: true, frozen: true, because: 'nothing in it could tell a frozen realm from a fresh one' };
}

function no(because: string): Suitability {
  return { brief: false, frozen: false, because };
}

function words(found: unknown): string {
  if (found instanceof Finding) return `line ${found.line}: ${found.why}`;
  return 'its source could not be followed to the end';
}

const stop = (node: Node, why: string): never => {
  throw new Finding(why, node.loc?.start.line ?? 0);
};

function lookForPromises(program: Node): void {
  const asynchronous = (node: Node) => {
    if ((node as Any).async === true) stop(node, 'an async function');
  };
  ancestor(program, {
    FunctionDeclaration: asynchronous,
    FunctionExpression: asynchronous,
    ArrowFunctionExpression: asynchronous,
    AwaitExpression: (node) => stop(node, 'await'),
    ImportExpression: (node) => stop(node, 'import()'),
    Identifier: (node, _state, ancestors) => {
      if (node.name === 'Promise' || node.name === 'AsyncDisposableStack') stop(node, 'promises');
      // Code that is not here to be read, and names that are not, could be of promises.
      if (node.name === 'eval' || node.name === 'Function') stop(node, `code from strings ("${node.name}")`);
      if (node.name === 'globalThis' && !isNamedMember(ancestors.at(-2) as unknown as Any))
        stop(node, 'the global object ("globalThis")');
    },
    MemberExpression: (node) => {
      const name = nameOf(node as unknown as Any);
      if (name === 'fromAsync' || name === 'Promise' || name === 'AsyncDisposableStack') stop(node, 'promises');
      if (name === 'eval' || name === 'Function') stop(node, `code from strings (".${name}")`);
    },
  });
}

function lookForTelltales(program: Node): void {
  let catches = false;
  ancestor(program, {
    TryStatement: () => {
      catches = true;
    },
  });
  const isBuiltin = (name: string) => BUILTINS.has(name);
  const declared = topLevelNames(program);
  for (const [name, node] of declared) {
    if (HOST_GLOBALS.has(name) && node.type !== 'lexical') stop(node.at, `top-level "${name}" declared anew`);
    if (isBuiltin(name)) stop(node.at, `a built-in name, "${name}", declared anew`);
  }

  ancestor(program, {
    ThisExpression: (node, _state, ancestors) => {
      if (!ancestors.some(hasOwnThis)) stop(node, '"this" at the top level');
    },
    MetaProperty: (node) => stop(node, 'new.target'),
    Identifier: (node, _state, ancestors) =>
      identifier(node as unknown as Any, ancestors as unknown as Any[], isBuiltin),
    Pattern: (node) => {
      const target = node as unknown as Any;
      if (target.type === 'Identifier' && isBuiltin(target.name as string))
        stop(node, `an assignment to "${target.name}"`);
    },
    MemberExpression: (node, _state, ancestors) =>
      member(node as unknown as Any, ancestors as unknown as Any[], catches),
    Property: (node) => {
      const name = keyOf(node as unknown as Any);
      if (name === '__proto__') stop(node, '__proto__');
    },
    Literal: (node) => {
      if (typeof node.value === 'string' && TELLING_PROPERTIES.has(node.value) && node.value !== 'stack')
        stop(node, `the name "${node.value}"`);
    },
    TaggedTemplateExpression: (node) => stop(node, 'a tagged template'),
  });
}

function identifier(node: Any, ancestors: readonly Any[], isBuiltin: (name: string) => boolean): void {
  const name = node.name as string;
  const why = TELLING_NAMES.get(name);
  if (why !== undefined) stop(node, `${why} ("${name}")`);
  const parent = ancestors.at(-2);
  if (name === 'arguments' && !ancestors.some(hasOwnThis)) stop(node, '"arguments" at the top level');
  if (!isBuiltin(name) || parent === undefined || name === 'undefined' || name === 'NaN' || name === 'Infinity') return;
  switch (parent.type) {
    case 'CallExpression':
    case 'NewExpression': {
      if (parent.callee === node) return;
      const callee = parent.callee as Any;
      if (HANDED_OVER.has(name) && callee.type === 'MemberExpression' && TAKES_FUNCTION.has(nameOf(callee) ?? ''))
        return;
      break;
    }
    case 'MemberExpression':
      if (parent.object !== node) return;
      if (name === 'RegExp' || (name === 'Error' && nameOf(parent) !== 'isError')) break;
      return;
    case 'BinaryExpression':
      if (parent.operator === 'instanceof' && parent.right === node) return;
      break;
    case 'UnaryExpression':
      if (parent.operator === 'typeof') return;
      break;
    case 'ClassDeclaration':
    case 'ClassExpression':
      if (parent.superClass === node) return;
      break;
    case 'Property':
    case 'MethodDefinition':
    case 'PropertyDefinition':
      if (parent.key === node && parent.computed !== true && parent.shorthand !== true) return;
      break;
    default:
      break;
  }
  stop(node, `the built-in "${name}" used as a value`);
}

function member(node: Any, ancestors: readonly Any[], catches: boolean): void {
  const name = nameOf(node);
  if (name !== undefined && TELLING_PROPERTIES.has(name)) stop(node, `".${name}"`);
  const target = isTarget(node, ancestors.at(-2));
  if (target) {
    const root = rootOf(node);
    if (root !== undefined && (BUILTINS.has(root) || HOST_GLOBALS.has(root)) && root !== 'input')
      stop(node, `a write to "${root}"`);
  }
  if (!catches) return;
  // Inside a program that catches errors, a TypeError of the frozen realm could be swallowed.
  if (name === undefined && !isIndex(node.property as Any))
    stop(node, 'a computed property, in a program that catches errors');
  // It assigns too.
  if (name === 'assign') stop(node, '".assign", in a program that catches errors');
  if (target && INHERITED.has(name ?? '')) stop(node, `a write to ".${name}", in a program that catches errors`);
  if (target && (node.object as Any).type === 'MemberExpression' && rootOf(node) === undefined)
    stop(node, 'a write, in a program that catches errors');
}

/** Names that some intrinsic prototype has: assigning one throws where the object inherits it from a frozen one. */
const INHERITED: ReadonlySet<string> = new Set(
  [Object, Function, Array, String, Number, Boolean, Error, Map, Set, Date, RegExp, Uint8Array]
    .flatMap(({ prototype }) => [
      ...Object.getOwnPropertyNames(prototype),
      ...Object.getOwnPropertyNames(Object.getPrototypeOf(prototype) ?? {}),
    ])
    .filter((name) => name !== 'length'),
);

function hasOwnThis(node: { type: string }): boolean {
  return node.type === 'FunctionDeclaration' || node.type === 'FunctionExpression' || node.type === 'ClassBody';
}

function isTarget(node: Any, parent: Any | undefined): boolean {
  if (parent === undefined) return false;
  if (parent.type === 'AssignmentExpression') return parent.left === node;
  if (parent.type === 'UpdateExpression') return true;
  if (parent.type === 'UnaryExpression') return parent.operator === 'delete';
  if (parent.type === 'ForOfStatement' || parent.type === 'ForInStatement') return parent.left === node;
  return (
    parent.type === 'ArrayPattern' ||
    parent.type === 'AssignmentPattern' ||
    parent.type === 'RestElement' ||
    (parent.type === 'Property' && parent.value === node)
  );
}

function isNamedMember(node: Any | undefined): boolean {
  return node?.type === 'MemberExpression' && nameOf(node) !== undefined;
}

function isIndex(property: Any): boolean {
  return property.type === 'Literal' && typeof property.value === 'number';
}

function nameOf(member: Any): string | undefined {
  const property = member.property as Any;
  if (member.computed !== true) return property.name as string;
  return property.type === 'Literal' && typeof property.value === 'string' ? property.value : undefined;
}

function keyOf(property: Any): string | undefined {
  const key = property.key as Any;
  return property.computed === true ? undefined : ((key.name ?? key.value) as string);
}

/** The identifier at the far left of `a.b.c`. */
function rootOf(member: Any): string | undefined {
  let object = member.object as Any;
  while (object.type === 'MemberExpression') object = object.object as Any;
  return object.type === 'Identifier' ? (object.name as string) : undefined;
}

/** Top-level declarations: what a script would put on the global object, or beside it. */
function topLevelNames(program: Node): Map<string, { at: Node; type: 'lexical' | 'global' }> {
  const names = new Map<string, { at: Node; type: 'lexical' | 'global' }>();
  const bind = (pattern: Any | null, type: 'lexical' | 'global'): void => {
    if (pattern === null) return;
    if (pattern.type === 'Identifier') names.set(pattern.name as string, { at: pattern, type });
    else if (pattern.type === 'ObjectPattern')
      for (const one of pattern.properties as Any[]) bind((one.value ?? one.argument) as Any, type);
    else if (pattern.type === 'ArrayPattern') for (const one of pattern.elements as (Any | null)[]) bind(one, type);
    else if (pattern.type === 'AssignmentPattern') bind(pattern.left as Any, type);
    else if (pattern.type === 'RestElement') bind(pattern.argument as Any, type);
  };
  ancestor(program, {
    VariableDeclaration: (node, _state, ancestors) => {
      // `var` reaches through blocks up to the function or script that it is in.
      const inFunction = (ancestors as unknown as Any[])
        .slice(0, -1)
        .some((one) => hasOwnThis(one) || one.type === 'ArrowFunctionExpression');
      const direct = ancestors.length === 2;
      if (node.kind === 'var' ? inFunction : !direct) return;
      for (const one of node.declarations) bind(one.id as unknown as Any, node.kind === 'var' ? 'global' : 'lexical');
    },
    FunctionDeclaration: (node, _state, ancestors) => {
      if (ancestors.length === 2) bind(node.id as unknown as Any, 'global');
    },
    ClassDeclaration: (node, _state, ancestors) => {
      if (ancestors.length === 2) bind(node.id as unknown as Any, 'lexical');
    },
  });
  return names;
}
