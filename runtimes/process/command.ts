import { basename, dirname, isAbsolute, join } from 'node:path';
import { Failure } from '../../src/core/failure.ts';
import type { Entry, Plugin } from '../../src/core/plugin.ts';
import type { Command } from '../../src/programs/command.ts';
import { interpreterOf, type Programs, unstartable } from '../../src/programs/programs.ts';

/**
 * The command line of an entry, built as Stash does: `exec` and `execArgs` in a row; the first is a program on PATH,
 * or else a file in the plugin's folder; in the others `{pluginDir}` is that folder. Contract: Stash
 * `pkg/plugin/config.go`, `pkg/python`.
 */
export async function commandOf(plugin: Plugin, entry: Entry, programs: Programs): Promise<Command> {
  const exec = plugin.program.runtime === 'process' ? plugin.program.exec : [];
  const [program, ...rest] = [...exec, ...('execArgs' in entry ? entry.execArgs : [])];
  if (program === undefined) throw new Failure('plugin_boot_failed', 'empty exec value');
  // A function, since in a string `$&` and the like would mean something.
  const args = rest.map((arg) => arg.replaceAll('{pluginDir}', () => plugin.dir));
  if ([program, ...args].some((arg) => arg.includes('\0'))) {
    throw new Failure('plugin_boot_failed', 'An argument holds a NUL, which no program can be given');
  }

  const isPython = program === 'python' || program === 'python3';
  if (isPython) {
    const python = await programs.python();
    if (python !== null) {
      return { ...python, needs: [...python.needs, python.file], args, isPython, isNative: false, path: null };
    }
    throw new Failure(
      'plugin_boot_failed',
      'There is no Python here that plugins may run: install python3, or set pythonPath (ISOPOD_PYTHON_PATH)',
    );
  }
  const found = await programs.find(program);
  if (found !== null) return await whole(found, args, programs, [found]);

  // Stash would try a name with a slash from where it happens to stand itself; here that is nowhere.
  const file = isAbsolute(program) && (await unstartable(program)) === null ? program : join(plugin.dir, program);
  const problem = await unstartable(file);
  if (problem === null) return await whole(file, args, programs, (await programs.isKnown(file)) ? [file] : []);
  throw new Failure('plugin_boot_failed', `Could not start ${JSON.stringify(program)}: ${problem}`);
}

/**
 * What a script is read by has to be there, too; and a script for Python may ask for it by whichever name. `known` is the
 * program itself where it is one of this machine's. Beyond that nothing is bound that only a file of the plugin's names:
 * it would be a way to have anything bound.
 */
async function whole(file: string, args: string[], programs: Programs, known: readonly string[]): Promise<Command> {
  const interpreter = await interpreterOf(file);
  if (interpreter === null) return { file, args, isPython: false, isNative: true, needs: known, path: null };
  const python = basename(interpreter.split(/[ \t]+/).at(-1) ?? '').startsWith('python')
    ? await programs.python()
    : null;
  const [program = ''] = interpreter.split(/[ \t]/);
  const reader = known.length > 0 || (await programs.isKnown(program)) ? [program] : [];
  const needs = [...(python?.needs ?? []), ...known, ...reader];
  return { file, args, isPython: false, isNative: false, needs, path: python === null ? null : dirname(python.file) };
}
