/**
 * The first document of a YAML file, as a tree that keeps its source text: every scalar is a string as it was
 * written, because `version: 1.10` is not 1.1.
 *
 * The parser runs over strangers' files, so it is fed lexeme by lexeme and stopped as soon as there are too many
 * of them or they nest too deeply; nothing after the first document is parsed at all. Aliases are bound to their
 * anchors in one walk, not expanded: what they expand to is counted by the decoder.
 */
import {
  type Alias,
  Composer,
  CST,
  type Document,
  isAlias,
  isMap,
  isPair,
  isSeq,
  Lexer,
  LineCounter,
  type ParsedNode,
  Parser,
  type YAMLError,
} from 'yaml';
import { type Position, quoted, Refused } from './refused.ts';

/** Far above what a manifest needs, and few enough to be refused within some tens of milliseconds. */
const MOST_LEXEMES = 50_000;
const DEEPEST = 64;

export type YamlNode = ParsedNode;
export type BoundNode = Exclude<YamlNode, Alias>;

export class YamlDocument {
  /** null where the document is there (`---`) and empty. */
  readonly root: YamlNode | null;
  readonly #targets = new Map<YamlNode, BoundNode>();
  readonly #lines: LineCounter;

  private constructor(root: YamlNode | null, lines: LineCounter) {
    this.root = root;
    this.#lines = lines;
  }

  static parse(text: string): YamlDocument {
    const lines = new LineCounter();
    const composed = compose(text, lines);
    if (composed === null) throw new Refused({ line: 1, column: 1 }, 'EOF: the file is empty or has comments only');
    const document = new YamlDocument(composed.contents as YamlNode | null, lines);

    // Stash's parser takes a comment right behind a quote or bracket; ours reads on rightly after complaining.
    const error = composed.errors.find(({ code, pos }) => code !== 'MISSING_CHAR' || text[pos[0]] !== '#');
    if (error !== undefined) throw new Refused(document.#position(error.pos[0]), worded(error));
    document.#bind(document.root, new Map());
    return document;
  }

  positionOf(node: YamlNode): Position {
    return this.#position(node.range[0]);
  }

  targetOf(alias: Alias): BoundNode {
    const target = this.#targets.get(alias as YamlNode);
    if (target === undefined) throw new Error('An alias that is not of this document');
    return target;
  }

  /**
   * In document order, and an anchor counts from where it stands, also within its own value: an alias means the
   * last anchor of that name above it.
   */
  #bind(node: unknown, anchors: Map<string, BoundNode>): void {
    if (isPair(node)) {
      this.#bind(node.key, anchors);
      this.#bind(node.value, anchors);
    } else if (isAlias(node)) {
      const target = anchors.get(node.source);
      const alias = node as YamlNode;
      if (target === undefined) {
        throw new Refused(this.positionOf(alias), `alias ${quoted(`*${node.source}`)} has no anchor above it`);
      }
      this.#targets.set(alias, target);
    } else {
      const bound = node as BoundNode | null;
      if (bound?.anchor !== undefined) anchors.set(bound.anchor, bound);
      if (isMap(bound) || isSeq(bound)) for (const item of bound.items) this.#bind(item, anchors);
    }
  }

  #position(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  }
}

/** The first document; null where there is none. */
function compose(text: string, lines: LineCounter): Document.Parsed | null {
  const parser = new Parser(lines.addNewLine);
  const composer = new Composer({
    schema: 'failsafe',
    merge: false,
    resolveKnownTags: false,
    // Looks at all keys for each key; the decoder does it better.
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: 'silent',
  });

  let begun = false;
  let first: Document.Parsed | null = null;
  for (const token of tokens(text, parser, lines)) {
    // An end without a document before it, and what stands before such an end.
    if (token.type === 'doc-end') continue;
    if (token.type === 'document') {
      if (token.value === undefined && token.start.every(({ type }) => BLANK.has(type))) continue;
      begun = true;
    } else if (token.type === 'directive' && !/^%(YAML|TAG)\s/.test(token.source)) {
      const { line, col } = lines.linePos(token.offset);
      throw new Refused({ line, column: col }, 'only the directives %YAML and %TAG are known; put the value in quotes');
    }
    for (const document of composer.next(token)) first ??= document as Document.Parsed;
    // One is enough to refuse it.
    if (token.type === 'error') break;
  }
  for (const document of composer.end(true, text.length)) first ??= document as Document.Parsed;
  return begun || (first?.errors.length ?? 0) > 0 ? first : null;
}

/** What may stand before a document. */
const BLANK: ReadonlySet<string | null> = new Set([
  'doc-mode',
  'doc-end',
  'directive-line',
  'byte-order-mark',
  'space',
  'comment',
  'newline',
] satisfies CST.TokenType[]);

/** The tokens of the first document and of what stands before it. */
function* tokens(text: string, parser: Parser, lines: LineCounter) {
  lines.addNewLine(0);
  let count = 0;
  let begun = false;
  let type: string | null = null;
  for (const lexeme of new Lexer().lex(text)) {
    // The lexeme after the mark of a scalar is its text, whatever it looks like.
    type = type === 'scalar' ? 'text' : CST.tokenType(lexeme);
    if (begun && (type === 'doc-start' || type === 'doc-end')) break;
    begun ||= !BLANK.has(type);

    count++;
    if (count > MOST_LEXEMES) throw tooMuch(`more than ${MOST_LEXEMES} parts`, parser, lines);
    yield* parser.next(lexeme);
    if (parser.stack.length > DEEPEST)
      throw tooMuch(`more than ${DEEPEST} levels, one inside the other`, parser, lines);
  }
  yield* parser.end();
}

function tooMuch(what: string, parser: Parser, lines: LineCounter): Refused {
  const { line, col } = lines.linePos(Math.max(0, parser.offset - 1));
  return new Refused({ line, column: col }, `a manifest may not have ${what}`);
}

/** Sentences of our own for what people meet most. */
const WORDS: Partial<Record<YAMLError['code'], string>> = {
  TAB_AS_INDENT: 'a tab may not indent in YAML; use spaces',
  MULTILINE_IMPLICIT_KEY: 'expected "key: value" on one line; is a colon, a quote or an indent missing?',
  BAD_INDENT: 'wrong indent: siblings start at the same column; what is inside [ ], { } or quotes, right of their key',
  MISSING_CHAR: 'a quote, bracket or colon is missing, or a line inside of quotes is not indented',
  BAD_SCALAR_START: 'a value may not start with this character; put it in quotes',
};

function worded(error: YAMLError): string {
  return WORDS[error.code] ?? `not valid YAML: ${quoted(error.message.slice(0, 200)).slice(1, -1)}`;
}
