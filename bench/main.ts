/**
 * `npm run bench -- [--quick] [--json FILE] [--cpu-prof DIR] [question…]`
 *
 * Starts everything itself, measures, prints one table. Nothing is pinned: the load generator and what is measured
 * share the machine's cores, as a front end and its clients on one machine do. Read ratios, not numbers.
 */
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { cancel } from './questions/cancel.ts';
import { confined } from './questions/confined.ts';
import { direct } from './questions/direct.ts';
import { echo } from './questions/echo.ts';
import { enqueueToStart } from './questions/enqueue-to-start.ts';
import { express } from './questions/express.ts';
import { fanOut } from './questions/fan-out.ts';
import { firstCall } from './questions/first-call.ts';
import { flat } from './questions/flat.ts';
import { fresh } from './questions/fresh.ts';
import { frozen } from './questions/frozen.ts';
import { gql } from './questions/gql.ts';
import { jobs } from './questions/jobs.ts';
import { kill } from './questions/kill.ts';
import { leftovers } from './questions/leftovers.ts';
import { memory } from './questions/memory.ts';
import { nodes } from './questions/nodes.ts';
import { parked } from './questions/parked.ts';
import { pgBoss } from './questions/pg-boss.ts';
import { piscina } from './questions/piscina.ts';
import { proxied } from './questions/proxied.ts';
import { python } from './questions/python.ts';
import { raw } from './questions/raw.ts';
import { resident } from './questions/resident.ts';
import { residents } from './questions/residents.ts';
import { routed } from './questions/routed.ts';
import { servers } from './questions/servers.ts';
import { tenants } from './questions/tenants.ts';
import { unconfined } from './questions/unconfined.ts';
import { workerd } from './questions/workerd.ts';
import { Databases } from './support/databases.ts';
import type { Question } from './support/question.ts';
import { answers } from './support/run.ts';
import { table } from './support/table.ts';

const QUESTIONS: Question[] = [
  echo,
  frozen,
  unconfined,
  workerd,
  resident,
  express,
  proxied,
  routed,
  fresh,
  raw,
  piscina,
  jobs,
  pgBoss,
  direct,
  gql,
  firstCall,
  python,
  confined,
  parked,
  kill,
  leftovers,
  residents,
  servers,
  memory,
  tenants,
  flat,
  enqueueToStart,
  cancel,
  nodes,
  fanOut,
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean' }, json: { type: 'string' }, 'cpu-prof': { type: 'string' } },
});

const unknown = positionals.filter((name) => !QUESTIONS.some((one) => one.name === name));
if (unknown.length > 0) {
  process.stderr.write(
    `There is no question ${unknown.join(', ')}. There are: ${QUESTIONS.map((q) => q.name).join(', ')}\n`,
  );
  process.exitCode = 2;
} else {
  await bench(chosen(positionals));
}

/** Those that were named, and those that they are compared with. */
function chosen(names: readonly string[]): Question[] {
  if (names.length === 0) return QUESTIONS;
  const wanted = new Set(names);
  for (const { name, targets = [] } of QUESTIONS) {
    if (names.includes(name)) for (const target of targets) if ('of' in target) wanted.add(target.of);
  }
  return QUESTIONS.filter(({ name }) => wanted.has(name));
}

async function bench(questions: Question[]): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'isopod-bench-'));
  // Programs run as somebody else where we are root, who has to get to his own files.
  await chmod(folder, 0o755);
  const databases = new Databases(join(folder, 'databases'));
  const profiles = values['cpu-prof'];
  const options = {
    quick: values.quick === true,
    folder,
    databases,
    cpuProf: profiles === undefined ? undefined : resolve(profiles),
  };
  try {
    const rows = await answers(questions, options, (line) => void process.stderr.write(`${line}\n`));
    const machine = `Node ${process.version}, ${availableParallelism()} × ${cpus()[0]?.model ?? 'unknown'}`;
    process.stdout.write(`\n${machine}${options.quick ? ', --quick' : ''}\n\n${table(rows)}\n`);
    if (values.json !== undefined) {
      await mkdir(dirname(resolve(values.json)), { recursive: true });
      await writeFile(
        values.json,
        `${JSON.stringify({ at: new Date(), machine, quick: options.quick, rows }, null, 2)}\n`,
      );
    }
    // A missed target is for whoever reads the table; a wrong answer makes the table worthless.
    if (rows.some(({ ok }) => !ok)) process.exitCode = 1;
  } finally {
    await databases[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}
