/**
 * What a plugin asks to be granted: a file of ours beside its manifest, `<id>.permissions.yaml`, as hosts know nothing of
 * it and some refuse a manifest that has an unknown key. What is wrong with it makes no plugin vanish: it asks for
 * nothing then, and says why.
 */
import { pathProblem } from '../core/file-path.ts';
import { type Ask, type FileGrant, HOSTS_MOST, NOTHING, PATHS_MOST } from '../core/grant.ts';
import { patternOf, written } from '../core/host-pattern.ts';
import type { LimitName, Limits } from '../core/limits.ts';
import { stripped } from '../core/text.ts';
import { Decoder, type Value } from './decoder.ts';
import type { ManifestSource } from './dialect.ts';
import { quoted, Refused } from './refused.ts';
import { textOf } from './text.ts';
import { YamlDocument } from './yaml.ts';

const REASON_MOST = 1_000;
const LIMITS = {
  wallMs: true,
  cpuMs: true,
  bootMs: true,
  heapMb: true,
  residentMb: true,
  outputBytes: true,
  logBytes: true,
  logLines: true,
  hostCalls: true,
  hostCallsAtOnce: true,
} as const satisfies Record<LimitName, true>;

/** Undefined where there is no such file. */
export function asksOf({ permissions }: ManifestSource): Ask | undefined {
  if (permissions === undefined) return undefined;
  if (typeof permissions === 'string') return unread(permissions);
  try {
    return read(new Decoder(YamlDocument.parse(textOf(permissions)), 'a file of permissions'));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const { at } = error;
    return unread(at === null ? error.message : `line ${at.line}, column ${at.column}: ${error.message}`);
  }
}

function unread(problem: string): Ask {
  return { ...NOTHING, reason: null, problem };
}

function read(yaml: Decoder): Ask {
  const ask = { network: [] as string[], files: [] as FileGrant[], limits: {}, reason: null as string | null };
  yaml.fields(yaml.root, 'the file', {
    network: (value) => (ask.network = few(yaml, value, 'network', HOSTS_MOST, (one, at) => hostOf(yaml, one, at))),
    files: (value) => (ask.files = few(yaml, value, 'files', PATHS_MOST, (one, at) => fileOf(yaml, one, at))),
    limits: (value) => (ask.limits = limitsOf(yaml, value)),
    reason: (value) => (ask.reason = reasonOf(yaml, value)),
  });
  return { ...ask, problem: null };
}

function few<T>(yaml: Decoder, value: Value, label: string, most: number, item: (one: Value, at: string) => T): T[] {
  const all = yaml.list(value, label, item);
  if (all.length > most) yaml.refuse(value, `${label} may have ${most} entries at most, not ${all.length}`);
  return all;
}

function hostOf(yaml: Decoder, value: Value, label: string): string {
  const text = yaml.text(value, label);
  const pattern = patternOf(text);
  if (pattern === null) yaml.refuse(value, `${label} is no host: ${quoted(text)}`);
  return written(pattern);
}

function fileOf(yaml: Decoder, value: Value, label: string): FileGrant {
  let path = '';
  let mode: FileGrant['mode'] = 'ro';
  yaml.fields(value, label, {
    path: (under) => (path = yaml.text(under, `${label}.path`)),
    mode: (under) => {
      const text = yaml.text(under, `${label}.mode`);
      if (text !== 'ro' && text !== 'rw') yaml.refuse(under, `${label}.mode must be ro or rw, not ${quoted(text)}`);
      mode = text;
    },
  });
  const problem = pathProblem(path);
  if (problem !== null) yaml.refuse(value, `${label}.path ${problem}: ${quoted(path)}`);
  return { path, mode };
}

function limitsOf(yaml: Decoder, value: Value): Partial<Limits> {
  const limits: Partial<Limits> = {};
  const fields = Object.keys(LIMITS).map((name) => {
    const set = (under: Value) => {
      const text = yaml.text(under, `limits.${name}`);
      if (!/^\d{1,12}$/.test(text)) yaml.refuse(under, `limits.${name} must be a whole number, not ${quoted(text)}`);
      limits[name as LimitName] = Number(text);
    };
    return [name, set] as const;
  });
  yaml.fields(value, 'limits', Object.fromEntries(fields));
  return limits;
}

function reasonOf(yaml: Decoder, value: Value): string | null {
  const text = yaml.optionalText(value, 'reason');
  return text === null ? null : stripped(text, REASON_MOST);
}
