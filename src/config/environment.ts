import { resolve } from 'node:path';
import { CREDENTIAL_VARIABLE } from '../core/credential.ts';
import { complaint, suggestion } from './check.ts';
import { type Leaf, leaves, type SettingSchema, Settings } from './schema.ts';

/** The variable that names the file; all others are settings. */
export const FILE_VARIABLE = 'ISOPOD_CONFIG';

export type Given = { leaf: Leaf; value: unknown };

/** What the variables set: `ISOPOD_*`, and `DATABASE_URL` as all the world calls it. Adds a sentence to `problems` for each that cannot be used. */
export function readEnvironment(env: Record<string, string | undefined>, cwd: string, problems: string[]): Given[] {
  const known = new Map(leaves().map((leaf) => [leaf.variable, leaf]));
  const given: Given[] = [];
  for (const [variable, text] of Object.entries(env)) {
    const leaf = known.get(variable) ?? recordsLeaf(variable);
    if (leaf === undefined && !variable.startsWith('ISOPOD_')) continue;
    if (variable === FILE_VARIABLE || text === undefined) continue;
    if (leaf === undefined && variable.startsWith('ISOPOD_CREDENTIAL_')) {
      problems.push(`${variable} cannot be a name: capital letters, digits and _ may follow ISOPOD_CREDENTIAL_`);
      continue;
    }
    if (leaf === undefined) {
      problems.push(`${variable} is not a setting${suggestion(variable, [...known.keys(), FILE_VARIABLE])}`);
      continue;
    }
    const one = readText(leaf, text, cwd, variable, problems);
    if (one !== null) given.push(one);
  }
  return given;
}

/** Variables of which a record of a tenant may say that they have its credential. */
function recordsLeaf(variable: string): Leaf | undefined {
  return new RegExp(CREDENTIAL_VARIABLE).test(variable) ? credentialLeaf(variable) : undefined;
}

/** A credential by the name of its variable, which is the user's own. */
export function credentialLeaf(variable: string): Leaf {
  const [schema = {}] = Object.values((Settings.properties.credentials as SettingSchema).patternProperties ?? {});
  return { path: ['credentials', variable], schema, variable };
}

/** A setting that was given as text, by a variable or a flag; `source` is how the user knows it. */
export function readText(leaf: Leaf, text: string, cwd: string, source: string, problems: string[]): Given | null {
  if (text === '') {
    problems.push(`${source} is empty: give it a value or leave it out`);
    return null;
  }
  const value = meant(leaf.schema, text, cwd);
  const problem = complaint(leaf.schema, value);
  if (problem === null) return { leaf, value };
  problems.push(`${source} ${problem}`);
  return null;
}

function meant(schema: SettingSchema, text: string, cwd: string): unknown {
  if (schema.type === 'integer') return /^-?\d+$/.test(text) ? Number(text) : text;
  if (schema.type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true';
  if (schema.type === 'array')
    return text
      .split(',')
      .map((one) => one.trim())
      .filter((one) => one !== '');
  return schema.path === true ? resolve(cwd, text) : text;
}
