import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { styleText } from 'node:util';
import { ConfigError, loadConfig } from '../config.ts';
import { GRADES, type Grade, type Isolation, type LayerState, reaches } from '../core/isolation.ts';
import { writtenOut } from '../core/text.ts';
import { openParts } from '../main.ts';
import { EXIT } from './exit.ts';

export type CheckOptions = { json?: boolean; least?: string; config?: string };

/** Proves how far programs are held back on this machine, without a server and a database. Resolves with the exit code. */
export async function check({ json = false, least: asked, config: file }: CheckOptions): Promise<number> {
  const config = loadConfig({ env: process.env, cwd: process.cwd(), file });
  const least = gradeOf(asked) ?? config.isolation.least;
  await using scope = new AsyncDisposableStack();
  // Nothing is left behind where the operator stands.
  const folder = await mkdtemp(join(tmpdir(), 'isopod-check-'));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  const { executors } = config;
  const small = { ...config, dataDir: folder, pluginsDir: folder, executors: { ...executors, spares: 0 } };
  const { isolations } = scope.use(await openParts(small));
  if (process.stderr.isTTY) note('Trying to get out of each room; this takes a second or two …');
  await isolations.check();

  const all = isolations.all();
  if (json) print(JSON.stringify({ least, ...Object.fromEntries(all) }, null, 2));
  else for (const [kind, isolation] of all) show(kind, isolation);
  const weak = all.filter(([, { grade }]) => !reaches(grade, least));
  for (const [kind, { grade }] of weak) note(`isopod: ${kind} are at "${grade}", and the least is "${least}"`);
  return weak.length === 0 ? EXIT.ok : EXIT.host;
}

function gradeOf(text: string | undefined): Grade | undefined {
  if (text === undefined) return undefined;
  const grade = GRADES.find((one) => one === text);
  if (grade === undefined) throw new ConfigError([`--least must be one of ${GRADES.join(', ')}, not "${text}"`]);
  return grade;
}

const COLOURS = {
  proven: 'green',
  absent: 'red',
  'not needed': 'gray',
} as const satisfies Record<LayerState, string>;

function show(kind: string, { grade, tier, layers, raise }: Isolation): void {
  print(`${kind}: ${styleText('bold', grade, { stream: process.stdout })} (${tier})`);
  const width = Math.max(...layers.map(({ name }) => name.length));
  for (const { name, state, neededFrom, evidence } of layers) {
    const colour = neededFrom === null && state === 'absent' ? 'gray' : COLOURS[state];
    const mark = styleText(colour, state.padEnd('not needed'.length), { stream: process.stdout });
    print(
      `  ${name.padEnd(width)}  ${mark}  ${(neededFrom ?? '').padEnd('contained'.length)}  ${writtenOut(evidence)}`,
    );
  }
  if (raise !== null) print(`  → ${raise}`);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function note(text: string): void {
  process.stderr.write(`${writtenOut(text)}\n`);
}
