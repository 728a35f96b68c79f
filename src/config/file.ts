import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isAlias, isMap, isNode, isScalar, LineCounter, type Node, parseDocument } from 'yaml';
import { ConfigError, complaint, suggestion } from './check.ts';
import { type SettingSchema, Settings } from './schema.ts';

/** What a file sets, in the shape of the schema; nothing where there is no such file and none was asked for by name. */
export function readFile(file: string, required: boolean): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (!required && (error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw new ConfigError([`${file} cannot be read: ${(error as Error).message}`]);
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  const problems = document.errors.map((error) => `${at(error.pos[0])}: ${error.message}`);
  if (problems.length > 0) throw new ConfigError(problems);

  const values: Record<string, unknown> = {};
  const root = document.contents;
  if (isNode(root) && !(isScalar(root) && root.value === null)) {
    new Walk(file, at, problems).map(Settings as SettingSchema, root, [], values);
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return values;
}

/** Goes through file and schema side by side, so that each complaint knows its line. */
class Walk {
  readonly #file: string;
  readonly #at: (offset: number) => string;
  readonly #problems: string[];

  constructor(file: string, at: (offset: number) => string, problems: string[]) {
    this.#file = file;
    this.#at = at;
    this.#problems = problems;
  }

  map(schema: SettingSchema, node: Node, path: readonly string[], into: Record<string, unknown>): void {
    if (!isMap(node)) {
      this.#say(node, `${name(path)} must be a map of settings`);
      return;
    }
    const [pattern, any] = Object.entries(schema.patternProperties ?? {})[0] ?? [];
    for (const { key, value } of node.items) {
      const keyNode = key as Node;
      const word = isScalar(keyNode) ? (keyNode.source ?? String(keyNode.value)) : undefined;
      if (word === undefined) {
        this.#say(keyNode, 'a setting has a plain name');
        continue;
      }
      const known = schema.properties ?? {};
      const here = [...path, word];
      if (pattern !== undefined && !new RegExp(pattern).test(word)) {
        this.#say(keyNode, `${name(here)} cannot be a name: it must match ${pattern}`);
        continue;
      }
      const inner = Object.hasOwn(known, word) ? known[word] : any;
      if (inner === undefined) {
        const names = Object.keys(known);
        this.#say(
          keyNode,
          `${name(here)} is not a setting${suggestion(word, names)} Allowed here: ${names.join(', ')}`,
        );
      } else if (value === null || (isScalar(value) && value.value === null)) {
        // `limits:` with nothing below it: as if it were not there.
      } else if (inner.properties !== undefined || inner.patternProperties !== undefined) {
        const deeper: Record<string, unknown> = Object.create(null);
        this.map(inner, value as Node, here, deeper);
        into[word] = deeper;
      } else {
        into[word] = this.#leaf(inner, value as Node, here);
      }
    }
  }

  #leaf(schema: SettingSchema, node: Node, path: readonly string[]): unknown {
    if (isAlias(node)) {
      this.#say(node, `${name(path)}: anchors and aliases are not taken here`);
      return undefined;
    }
    const value: unknown = (node as { toJSON(): unknown }).toJSON();
    const problem = complaint(schema, value);
    if (problem !== null) this.#say(node, `${name(path)} ${problem}`);
    return schema.path === true && typeof value === 'string' ? resolve(dirname(this.#file), value) : value;
  }

  #say(node: Node, sentence: string): void {
    this.#problems.push(`${this.#at(node.range?.[0] ?? 0)}: ${sentence}`);
  }
}

function name(path: readonly string[]): string {
  return path.length === 0 ? 'The file' : path.join('.');
}
