import { isAbsolute, join } from 'node:path';
import { Failure } from '../../src/core/failure.ts';
import type { Entry, Plugin } from '../../src/core/plugin.ts';
import { type Programs, unstartable } from './programs.ts';

/** What is started for one invocation. No shell ever reads any of it. */
export type Command = { file: string; args: string[]; isPython: boolean };

/**
 * The command line of an entry, built as Stash does: `exec` and `execArgs` in a row; the first is a program on PATH,
 * or else a file in the plugin's folder; in the others `{pluginDir}` is that folder. Contract: Stash
 * `pkg/plugin/config.go`, `pkg/python`.
 */
export async function commandOf(plugin: Plugin, entry: Entry, programs: Programs): Promise<Command> {
  const exec = plugin.program.runtime === 'process' ? plugin.program.exec : [];
  const [program, ...rest] = [...exec, ...(entry.kind === 'operation' ? [] : entry.execArgs)];
  if (program === undefined) throw new Failure('plugin_boot_failed', 'empty exec value');
  // A function, since in a string `$&` and the like would mean something.
  const args = rest.map((arg) => arg.replaceAll('{pluginDir}', () => plugin.dir));
  if ([program, ...args].some((arg) => arg.includes('\0'))) {
    throw new Failure('plugin_boot_failed', 'An argument holds a NUL, which no program can be given');
  }

  const isPython = program === 'python' || program === 'python3';
  const found = isPython ? await programs.python() : await programs.find(program);
  if (found !== null) return { file: found, args, isPython };
  if (isPython) throw new Failure('plugin_boot_failed', 'There is no Python on this machine: set pythonPath');

  // Stash would try a name with a slash from where it happens to stand itself; here that is nowhere.
  const file = isAbsolute(program) && (await unstartable(program)) === null ? program : join(plugin.dir, program);
  const problem = await unstartable(file);
  if (problem === null) return { file, args, isPython };
  throw new Failure('plugin_boot_failed', `Could not start ${JSON.stringify(program)}: ${problem}`);
}
