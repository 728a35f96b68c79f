/**
 * Takes typed values out of a YAML tree, as strictly as Go's yaml.v2 does for Stash: no unknown key, no key
 * twice, no list where text belongs. Scalars give their source text, whatever YAML would make of them.
 *
 * What differs from most YAML readers is merging (`<<`). A merge is decoded where it stands: what follows it
 * wins over it, and it wins over what stands before it. In a list of merges the earlier ones win. In a map with
 * free keys a merge counts as writing the key, so a key both merged and written is a key given twice.
 *
 * Aliases are followed on the way. Each value met costs, so aliases of aliases run out of budget, not of memory.
 */
import { isAlias, isMap, isScalar, isSeq, type ParsedNode, type YAMLMap, type YAMLSeq } from 'yaml';
import { quoted, Refused } from './refused.ts';
import type { BoundNode, YamlDocument, YamlNode } from './yaml.ts';

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\x00-\x1f\x7f]/;
const MOST_VALUES = 50_000;
const MOST_TEXT = 1_000_000;

/** null where a key stands without a value in a flow mapping: `{key}`. */
export type Value = YamlNode | null;

type MapNode = YAMLMap.Parsed<ParsedNode, ParsedNode | null>;

/** What the tags that YAML knows allow a scalar to be. Any other tag is ignored, as are all tags of collections. */
const TYPED: Record<string, RegExp> = {
  'tag:yaml.org,2002:int': /^[-+]?(0b[01_]+|0o?[0-7_]+|0x[\da-f_]+|\d[\d_]*)$/i,
  'tag:yaml.org,2002:float': /^[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)(e[-+]?\d+)?$|^[-+]?\.inf$|^\.nan$/i,
  'tag:yaml.org,2002:bool': /^(y|yes|n|no|true|false|on|off)$/i,
  'tag:yaml.org,2002:timestamp': /^\d{4}-\d\d?-\d\d?([Tt\s]\s*\d\d?:\d\d:\d\d(\.\d*)?\s*(Z|[-+]\d\d?(:\d\d)?)?)?$/,
};
const BINARY = 'tag:yaml.org,2002:binary';
const NULL = 'tag:yaml.org,2002:null';
const MERGE = 'tag:yaml.org,2002:merge';

export class Decoder {
  readonly #document: YamlDocument;
  readonly #what: string;
  /** Aliases that are being followed: meeting one again is a circle. */
  readonly #following = new Set<YamlNode>();
  #values = 0;
  #text = 0;

  /** `what` is what the file is, in words. */
  constructor(document: YamlDocument, what = 'a manifest') {
    this.#document = document;
    this.#what = what;
  }

  get root(): Value {
    return this.#document.root;
  }

  refuse(value: Value, reason: string): never {
    throw new Refused(value === null ? null : this.#document.positionOf(value), reason);
  }

  /** Null gives the empty text. */
  text(value: Value, label: string): string {
    return this.optionalText(value, label) ?? '';
  }

  optionalText(value: Value, label: string): string | null {
    return this.#follow(value, (node) => {
      if (isNull(node)) return null;
      if (!isScalar(node)) this.refuse(node, `${label} must be text, not ${nature(node)}`);
      const text = this.#scalar(node, label);
      this.#text += text.length;
      if (this.#text > MOST_TEXT)
        this.refuse(value, `${this.#what} may not hold more than ${MOST_TEXT} characters of text`);
      return text;
    });
  }

  /**
   * Text that others call something by: control characters are refused, however they are written. It stands in URLs, log
   * lines and the database, which takes no NUL. Stash takes them all.
   */
  name(value: Value, label: string): string {
    const name = this.text(value, label);
    const bad = CONTROL.exec(name)?.[0];
    if (bad !== undefined) {
      const code = bad.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
      this.refuse(value, `${label} may not contain the control character U+${code}`);
    }
    return name;
  }

  /** Null gives the empty list. */
  list<T>(value: Value, label: string, item: (value: YamlNode, label: string) => T): T[] {
    return this.#follow(value, (node) => {
      if (isNull(node)) return [];
      if (!isSeq(node)) this.refuse(node, `${label} must be a list, not ${nature(node)}`);
      return (node as YAMLSeq.Parsed).items.map((each, index) => item(each, `${label}[${index}]`));
    });
  }

  texts(value: Value, label: string): string[] {
    return this.list(value, label, (item, itemLabel) => this.text(item, itemLabel));
  }

  /** A mapping with free keys, added to `into`. Null empties it. `keys` says what a key may be. */
  map<T>(
    value: Value,
    label: string,
    into: Map<string, T>,
    item: (value: Value, label: string) => T,
    keys: 'text' | 'name' = 'text',
  ): void {
    const merge = (merged: Value) => this.map(merged, label, into, item, keys);
    this.#follow(value, (node) => {
      if (isNull(node)) return into.clear();
      for (const { key, value: under } of this.#pairs(node, label, merge)) {
        const name = this[keys](key, `a key of ${label}`);
        const decoded = item(under, `${label}.${name.slice(0, 40)}`);
        if (into.has(name)) this.refuse(key, `key ${quoted(name)} is given twice in ${label}`);
        into.set(name, decoded);
      }
    });
  }

  /** A mapping with known keys. Null leaves all of them as they are. */
  fields(value: Value, label: string, fields: Record<string, (value: Value) => void>): void {
    this.#follow(value, (node) => {
      if (isNull(node)) return;
      const given = new Set<string>();
      for (const { key, value: under } of this.#pairs(node, label, (merged) => this.fields(merged, label, fields))) {
        const name = this.text(key, `a key of ${label}`);
        const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
        if (field === undefined) this.refuse(key, `unknown key ${quoted(name)} in ${label}; ${advice(name, fields)}`);
        if (given.has(name)) this.refuse(key, `key ${quoted(name)} is given twice in ${label}`);
        given.add(name);
        field(under);
      }
    });
  }

  isNull(value: Value): boolean {
    return this.#follow(value, isNull);
  }

  /** The pairs of a mapping in order; merges are handed to `merge` where they stand. */
  *#pairs(node: BoundNode, label: string, merge: (merged: YamlNode) => void) {
    if (!isMap(node)) this.refuse(node, `${label} must be a mapping of keys to values, not ${nature(node)}`);
    for (const pair of (node as MapNode).items) {
      if (isMergeKey(pair.key)) this.#merge(pair.key, pair.value, merge);
      else yield pair;
    }
  }

  #merge(key: YamlNode, value: Value, merge: (merged: YamlNode) => void): void {
    const source = isAlias(value) ? this.#document.targetOf(value) : value;
    if (value !== null && isMap(source)) {
      merge(value);
      return;
    }
    // Only a list that stands here: Go does not take an alias of one.
    if (!isSeq(value)) this.refuse(value ?? key, '"<<" takes a mapping, an alias of one, or a list of these');
    for (const item of (value as YAMLSeq.Parsed).items.toReversed()) {
      const target = isAlias(item) ? this.#document.targetOf(item) : item;
      if (!isMap(target)) this.refuse(item, '"<<" takes a mapping, an alias of one, or a list of these');
      merge(item);
    }
  }

  #follow<T>(value: Value, decode: (node: BoundNode | null) => T): T {
    if (++this.#values > MOST_VALUES) {
      this.refuse(value, `${this.#what} may not expand to more than ${MOST_VALUES} values; it uses aliases too much`);
    }
    if (value === null || !isAlias(value)) return decode(value as BoundNode | null);
    if (this.#following.has(value)) this.refuse(value, `anchor ${quoted(value.source)} contains itself`);
    this.#following.add(value);
    try {
      return decode(this.#document.targetOf(value));
    } finally {
      this.#following.delete(value);
    }
  }

  #scalar(node: BoundNode, label: string): string {
    const text = String((node as { value: unknown }).value);
    const tag = node.tag;
    if (tag === BINARY) {
      if (!/^[A-Za-z\d+/\s]*={0,2}\s*$/.test(text)) this.refuse(node, `${label} is tagged !!binary and is not base64`);
      return Buffer.from(text, 'base64').toString();
    }
    if (tag === NULL) this.refuse(node, `${label} is tagged !!null and is not null`);
    if (tag !== undefined && TYPED[tag]?.test(text) === false) {
      this.refuse(node, `${label} is tagged ${quoted(`!!${tag.slice(tag.lastIndexOf(':') + 1)}`)} and is not one`);
    }
    return text;
  }
}

function isNull(node: BoundNode | null): node is null {
  if (node === null) return true;
  if (!isScalar(node) || node.type !== 'PLAIN') return false;
  return (node.tag === undefined || node.tag === NULL) && /^(|~|null|Null|NULL)$/.test(String(node.value));
}

/** In quotes it is a key like any other. */
function isMergeKey(key: YamlNode): boolean {
  return isScalar(key) && key.value === '<<' && (key.tag === MERGE || (key.tag === undefined && key.type === 'PLAIN'));
}

function nature(node: BoundNode): string {
  if (isMap(node)) return 'a mapping';
  return isSeq(node) ? 'a list' : 'a single value';
}

function advice(name: string, fields: Record<string, unknown>): string {
  const allowed = Object.keys(fields);
  const meant = allowed.find((field) => field.toLowerCase() === name.toLowerCase());
  return meant === undefined ? `allowed are ${allowed.join(', ')}` : `did you mean "${meant}"? Case matters`;
}
