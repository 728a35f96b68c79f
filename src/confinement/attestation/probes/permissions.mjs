/** What Node's own permission model refuses, for whoever is started as an executor is. */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { Worker } from 'node:worker_threads';

function attempt(action) {
  try {
    action();
    return 'ok';
  } catch (error) {
    return error.code ?? '?';
  }
}

const tries = {
  read: attempt(() => readFileSync('/proc/self/status')),
  list: attempt(() => readdirSync('/')),
  write: attempt(() => closeSync(openSync('/tmp', 0o20200002, 0o600))),
  spawn: attempt(() => {
    const { error } = spawnSync('/bin/true');
    if (error) throw error;
  }),
  worker: attempt(() => new Worker('', { eval: true }).unref()),
  inspector: attempt(() => new Session().connect()),
};
const output = { isOn: process.permission !== undefined, tries };
process.stdout.write(`${JSON.stringify({ output })}\n`, () => process.exit(0));
