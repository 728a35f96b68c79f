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
 * What is reached by a name that the program makes up only as it runs, no reading finds: the realm itself has traps
 * there. A program that names any of the latter, or catches errors where one of the former could be the error, stays with
 * fresh contexts. In doubt it stays: this errs to one side only.
 *
 * Runs in a worker thread, since the source is a stranger's.
 */
import { runInNewContext } from 'node:vm';
import { type Node, parse } from 'acorn';

export type Suitability =
  | { brief: true; frozen: boolean; because: string }
  | { brief: false; frozen: false; because: string };

const SOURCE_MOST = 512 * 1024;

/** The global names of the language, without those of Node; and those that the global object inherits. */
const BUILTINS: ReadonlySet<string> = new Set(
  runInNewContext('[globalThis, Object.prototype].flatMap((one) => Object.getOwnPropertyNames(one))') as string[],
);

/** What the program finds besides the language itself. */
const HOST_GLOBALS = new Set(['input', 'log', 'gql', 'util', 'console']);

/**
 * What the built-ins have: all names, which throw when they are assigned to an object that inherits them from a frozen
 * one, and the names of those properties that hold functions and objects, which are frozen too.
 */
const { names: BUILTIN_NAMES, holding: BUILTIN_OBJECTS } = runInNewContext(`
  const names = new Set();
  const holding = new Set();
  const seen = new Set([globalThis]);
  const todo = [];
  const visit = (value, name) => {
    if ((typeof value !== 'object' || value === null) && typeof value !== 'function') return;
    if (name !== undefined) holding.add(name);
    if (!seen.has(value)) todo.push(value);
    seen.add(value);
  };
  for (const name of Object.getOwnPropertyNames(globalThis)) visit(globalThis[name]);
  for (const made of [[].values(), ''.matchAll(/x/g), new Map().keys(), new Set().keys(), (function* () {})(), ''[Symbol.iterator](),
    [].values().map((x) => x), Iterator.from({ next() {} }), new Intl.Segmenter().segment('x'), new Intl.Segmenter().segment('x')[Symbol.iterator]()])
    visit(Object.getPrototypeOf(made));
  while (todo.length > 0) {
    const object = todo.pop();
    visit(Object.getPrototypeOf(object));
    for (const name of Object.getOwnPropertyNames(object)) {
      names.add(name);
      visit(Object.getOwnPropertyDescriptor(object, name).value, name);
    }
  }
  // Each array and function has a length of its own.
  names.delete('length');
  ({ names, holding })
`) as { names: ReadonlySet<string>; holding: ReadonlySet<string> };

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
  'getOwnPropertyNames',
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

/** A place in the tree: a node, the property of its parent that holds it, and where the parent is. */
type Place = { node: Any; key: string; up: Place | undefined };

/** Visits every node there is, whatever it stands for: what a walker knows to be no expression it may leave out. */
function walk(node: Any, look: (place: Place) => void, key = '', up?: Place): void {
  const place = { node, key, up };
  look(place);
  for (const part of Object.keys(node)) {
    const value = node[part];
    if (Array.isArray(value)) {
      for (const one of value) if (isNode(one)) walk(one, look, part, place);
    } else if (isNode(value)) walk(value, look, part, place);
  }
}

function isNode(value: unknown): value is Any {
  return typeof value === 'object' && value !== null && typeof (value as Any).type === 'string';
}

function lookForPromises(program: Node): void {
  walk(program as Any, ({ node, key, up }) => {
    if (node.async === true) stop(node, 'an async function');
    if (node.type === 'AwaitExpression') stop(node, 'await');
    if (node.type === 'ImportExpression') stop(node, 'import()');
    if (node.type === 'Identifier' && !isName(node, key, up)) {
      const name = node.name as string;
      if (name === 'Promise' || name === 'AsyncDisposableStack') stop(node, 'promises');
      // Code that is not here to be read, and names that are not, could be of promises.
      if (name === 'eval' || name === 'Function') stop(node, `code from strings ("${name}")`);
      if (name === 'globalThis' && !isNamedMember(up?.node)) stop(node, 'the global object ("globalThis")');
    }
    const name = nameOf(node);
    if (name === 'fromAsync' || name === 'Promise' || name === 'AsyncDisposableStack') stop(node, 'promises');
    if (name === 'eval' || name === 'Function') stop(node, `code from strings (".${name}")`);
  });
}

function lookForTelltales(program: Node): void {
  const is = { catching: false, inheriting: false };
  walk(program as Any, ({ node }) => {
    if (node.type === 'TryStatement') is.catching = true;
    if (isNode(node.superClass)) is.inheriting = true;
  });
  for (const [name, node] of topLevelNames(program)) {
    if (HOST_GLOBALS.has(name) && node.type !== 'lexical') stop(node.at, `top-level "${name}" declared anew`);
    if (BUILTINS.has(name)) stop(node.at, `a built-in name, "${name}", declared anew`);
  }

  walk(program as Any, (place) => {
    const { node, key, up } = place;
    switch (node.type) {
      case 'ThisExpression':
        if (!hasOwnThis(place)) stop(node, '"this" at the top level');
        break;
      case 'MetaProperty':
        stop(node, 'new.target');
        break;
      case 'TaggedTemplateExpression':
        stop(node, 'a tagged template');
        break;
      case 'Identifier':
        if (!isName(node, key, up)) identifier(place, is.catching);
        break;
      case 'BinaryExpression':
        // `Error` has a name more in a frozen realm, and whatever extends it.
        if (node.operator === 'in' && is.inheriting && !isWrittenOut(node.left as Any))
          stop(node, 'a computed name in "in", in a program that extends a class');
        break;
      case 'MemberExpression':
        member(place, is.catching);
        break;
      case 'Property':
        if (up?.node.type === 'ObjectPattern') patternKey(node, is.catching);
        else if (nameOf(node) === '__proto__') stop(node, '__proto__');
        break;
      default:
        break;
    }
    // A sum of words is read once, as a whole.
    const word = node.type === 'BinaryExpression' && up?.node.type === 'BinaryExpression' ? undefined : wordOf(node);
    if (word !== undefined && TELLING_PROPERTIES.has(word) && word !== 'stack') stop(node, `the name "${word}"`);
  });
}

/** Called for identifiers that stand for a variable, in whatever way. */
function identifier(place: Place, catching: boolean): void {
  const { node, key, up } = place;
  const name = node.name as string;
  const why = TELLING_NAMES.get(name);
  if (why !== undefined) stop(node, `${why} ("${name}")`);
  const parent = up?.node;
  if (name === 'arguments' && !hasOwnThis(place)) stop(node, '"arguments" at the top level');
  if (!BUILTINS.has(name) || parent === undefined) return;
  if (isTarget(place)) stop(node, `an assignment to "${name}"`);
  if (name === 'undefined' || name === 'NaN' || name === 'Infinity') return;
  switch (parent.type) {
    case 'CallExpression':
    case 'NewExpression': {
      if (key === 'callee') return;
      const callee = parent.callee as Any;
      if (
        !catching &&
        HANDED_OVER.has(name) &&
        callee.type === 'MemberExpression' &&
        TAKES_FUNCTION.has(nameOf(callee) ?? '')
      )
        return;
      break;
    }
    case 'MemberExpression': {
      if (key !== 'object') break;
      const member = nameOf(parent);
      if (member === undefined) stop(parent, `a computed property of "${name}"`);
      if (name === 'RegExp' || (name === 'Error' && member !== 'isError')) break;
      return;
    }
    case 'BinaryExpression':
      if (parent.operator === 'instanceof' && key === 'right') return;
      break;
    case 'UnaryExpression':
      if (parent.operator === 'typeof') return;
      break;
    case 'ClassDeclaration':
    case 'ClassExpression':
      if (key === 'superClass') return;
      break;
    default:
      break;
  }
  stop(node, `the built-in "${name}" used as a value`);
}

function member(place: Place, catching: boolean): void {
  const { node, key, up } = place;
  const name = nameOf(node);
  if (name !== undefined && TELLING_PROPERTIES.has(name)) stop(node, `".${name}"`);
  const target = isTarget(place);
  if (target) {
    const root = rootOf(node);
    if (root !== undefined && (BUILTINS.has(root) || HOST_GLOBALS.has(root)) && root !== 'input')
      stop(node, `a write to "${root}"`);
  }
  if (!catching) return;
  // Inside a program that catches errors, a TypeError of the frozen realm could be swallowed.
  if (name === undefined && !isIndex(node)) stop(node, 'a computed property, in a program that catches errors');
  // They write too.
  if (name === 'assign' || name === 'defineProperty' || name === 'defineProperties')
    stop(node, `".${name}", in a program that catches errors`);
  // What `super` leads to may be frozen, even its length.
  if (target && (node.object as Any).type === 'Super')
    stop(node, 'a write to "super", in a program that catches errors');
  if (target && BUILTIN_NAMES.has(name ?? '')) stop(node, `a write to ".${name}", in a program that catches errors`);
  if (target && (node.object as Any).type === 'MemberExpression' && rootOf(node) === undefined)
    stop(node, 'a write, in a program that catches errors');
  // In hand, it could be written to. To call it is all that is harmless.
  if (!target && BUILTIN_OBJECTS.has(name ?? '') && !(up?.node.type === 'CallExpression' && key === 'callee'))
    stop(node, `".${name}" used as a value, in a program that catches errors`);
}

/** `{ name }` in a pattern reads a property as `.name` does. */
function patternKey(node: Any, catching: boolean): void {
  const name = nameOf(node);
  if (name !== undefined && TELLING_PROPERTIES.has(name)) stop(node, `"${name}" in a pattern`);
  if (!catching) return;
  if (name === undefined) stop(node, 'a computed property, in a program that catches errors');
  if (BUILTIN_OBJECTS.has(name as string)) stop(node, `"${name}" in a pattern, in a program that catches errors`);
}

/** In functions, in fields and static blocks of classes; not in computed names and what a class extends. */
function hasOwnThis(place: Place): boolean {
  for (let at: Place | undefined = place; at?.up !== undefined; at = at.up) {
    const { type } = at.up.node;
    if (type === 'FunctionDeclaration' || type === 'FunctionExpression' || type === 'StaticBlock') return true;
    if (type === 'PropertyDefinition' && at.key === 'value') return true;
  }
  return false;
}

/** Whether it is assigned to: outright, counted up, deleted, in the head of a loop, or at the end of a pattern. */
function isTarget({ key, up }: Place): boolean {
  switch (up?.node.type) {
    case 'AssignmentExpression':
    case 'AssignmentPattern':
    case 'ForOfStatement':
    case 'ForInStatement':
      return key === 'left';
    case 'UpdateExpression':
    case 'ArrayPattern':
    case 'RestElement':
      return true;
    case 'UnaryExpression':
      return up.node.operator === 'delete';
    case 'Property':
      return key === 'value' && up.up?.node.type === 'ObjectPattern';
    default:
      return false;
  }
}

/** Whether an identifier is only the name of a property or a label, and stands for no variable. */
function isName({ name }: Any, key: string, up: Place | undefined): boolean {
  const parent = up?.node;
  switch (parent?.type) {
    case 'MemberExpression':
      return key === 'property' && parent.computed !== true;
    case 'Property':
      // Of `{ name }` there is a value besides, which is the variable.
      return key === 'key' && parent.computed !== true;
    case 'MethodDefinition':
    case 'PropertyDefinition':
      return key === 'key' && parent.computed !== true;
    case 'LabeledStatement':
    case 'BreakStatement':
    case 'ContinueStatement':
      return key === 'label';
    case 'MetaProperty':
      return true;
    default:
      return name === undefined;
  }
}

function isNamedMember(node: Any | undefined): boolean {
  return node?.type === 'MemberExpression' && nameOf(node) !== undefined;
}

function isIndex(member: Any): boolean {
  const property = member.property as Any;
  return property.type === 'Literal' && typeof property.value === 'number';
}

/** The name of the property that `a.b` and `{ b: c }` are about, as far as it can be read. */
function nameOf(node: Any): string | undefined {
  const named = node.type === 'MemberExpression' ? node.property : node.type === 'Property' ? node.key : undefined;
  if (!isNode(named)) return undefined;
  if (node.computed !== true && named.type === 'Identifier') return named.name as string;
  if (named.type === 'PrivateIdentifier') return `#${named.name}`;
  return wordOf(named);
}

/** Text that is written out, maybe in pieces. */
function wordOf(node: Any): string | undefined {
  switch (node.type) {
    case 'Literal':
      return typeof node.value === 'string' ? node.value : undefined;
    case 'TemplateLiteral': {
      const words = (node.expressions as Any[]).map(wordOf);
      if (words.includes(undefined)) return undefined;
      return (node.quasis as { value: { cooked: string } }[])
        .map(({ value }, at) => value.cooked + (words[at] ?? ''))
        .join('');
    }
    case 'BinaryExpression': {
      if (node.operator !== '+') return undefined;
      const right = wordOf(node.right as Any);
      const left = right === undefined ? undefined : wordOf(node.left as Any);
      return left === undefined ? undefined : left + right;
    }
    default:
      return undefined;
  }
}

function isWrittenOut(name: Any): boolean {
  return name.type === 'PrivateIdentifier' || wordOf(name) !== undefined;
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
  walk(program as Any, ({ node, up }) => {
    const direct = up?.node.type === 'Program';
    switch (node.type) {
      case 'VariableDeclaration': {
        // `var` reaches through blocks up to the function or script that it is in.
        const type = node.kind === 'var' ? 'global' : 'lexical';
        if (type === 'global' ? isInFunction(up) : !direct) break;
        for (const one of node.declarations as Any[]) bind(one.id as Any, type);
        break;
      }
      case 'FunctionDeclaration':
        if (direct) bind(node.id as Any, 'global');
        break;
      case 'ClassDeclaration':
        if (direct) bind(node.id as Any, 'lexical');
        break;
      default:
        break;
    }
  });
  return names;
}

function isInFunction(at: Place | undefined): boolean {
  if (at === undefined) return false;
  return at.node.type === 'StaticBlock' || typeof at.node.generator === 'boolean' || isInFunction(at.up);
}
