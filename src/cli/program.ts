import { Command, CommanderError } from 'commander';
import { ConfigError } from '../config.ts';
import { writtenOut } from '../core/text.ts';
import { StoreUnusable } from '../main.ts';
import { VERSION } from '../service.ts';
import { backup, restore } from './backup.ts';
import { check } from './check.ts';
import { closeInherited } from './descriptors.ts';
import { EXIT } from './exit.ts';
import { run } from './run.ts';
import { serve } from './serve.ts';

const EXIT_CODES = `
Exit codes:
  0    it went well
  1    the plugin failed
  2    the command line, the configuration or a manifest is wrong
  3    it is our fault, or this machine's
  130  interrupted`;

/** Resolves with the exit code. Does not reject: whatever goes wrong becomes sentences. */
export async function main(words: readonly string[]): Promise<number> {
  closeInherited();
  // Whoever reads us may have read enough: `isopod run … | head`.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', ignoreClosed);
  let code: number = EXIT.ok;
  const program = new Command('isopod')
    .description('Runs plugins you do not trust: sandboxed, limited, watched, and called over HTTP')
    .version(VERSION)
    .addHelpText('after', EXIT_CODES)
    .exitOverride();

  program
    .command('serve')
    .description('serve the plugins of a folder over HTTP')
    .option('--config <file>', 'settings; by default isopod.yaml in the working directory, if there is one')
    .option('--host <address>', 'address to listen on')
    .option('--port <number>', 'port to listen on, 0 for any that is free')
    .addHelpText('after', `${EXIT_CODES}\n\nEvery setting can also be a variable, e.g. ISOPOD_LIMITS_WALL_MS=5000.`)
    .action(async (options) => {
      code = await serve(options);
    });

  program
    .command('run')
    .description('run one plugin once, without a server')
    .argument('<folder>', 'the folder of the plugin')
    .option('--task <name>', 'the task to run; without it this is an operation')
    .option('--args <json>', 'arguments for the plugin, a JSON object')
    .option('--settings <json>', 'what is set for a plugin that stays between calls, a JSON object')
    .option('--plugin <id>', 'which plugin, where the folder holds several')
    .option('--application <url>', 'the application that the plugin may call')
    .option('--application-api-key-env <name>', 'the variable that has the API key of it')
    .option('--allow-network <host>', 'a host that it may reach, e.g. *.example.com:8443; may be repeated', several)
    .option(
      '--allow-files <path>',
      'a file or folder that it may read, or also write: <path>:rw; may be repeated',
      several,
    )
    .option('--config <file>', 'settings; by default isopod.yaml in the working directory, if there is one')
    .option('--json', 'print everything as one JSON document')
    .addHelpText('after', EXIT_CODES)
    .action(async (folder, options) => {
      code = await run(folder, options);
    });

  program
    .command('check')
    .description('prove how far plugins are held back on this machine, by trying to get out')
    .option('--least <grade>', 'end with 3 below it: none, limited, fenced, contained or full')
    .option('--config <file>', 'settings; by default isopod.yaml in the working directory, if there is one')
    .option('--json', 'print everything as one JSON document')
    .addHelpText('after', EXIT_CODES)
    .action(async (options) => {
      code = await check(options);
    });

  for (const [name, what, does] of [
    ['backup', 'write all that is kept to a file, while no service uses the data folder', backup],
    ['restore', 'put such a file into a database that holds nothing yet', restore],
  ] as const) {
    program
      .command(name)
      .description(what)
      .argument('<file>')
      .option('--config <file>', 'settings; by default isopod.yaml in the working directory, if there is one')
      .action(async (file, options) => {
        code = await does(file, options);
      });
  }

  try {
    await program.parseAsync(words, { from: 'user' });
    return code;
  } catch (error) {
    // Commander has said what is wrong already.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (error instanceof ConfigError) {
      for (const sentence of error.sentences) complain(sentence);
      return EXIT.usage;
    }
    if (error instanceof StoreUnusable) {
      complain(error.message);
      return EXIT.host;
    }
    complain(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return EXIT.host;
  }
}

function several(one: string, before: string[] = []): string[] {
  return [...before, one];
}

function ignoreClosed(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
}

function complain(sentence: string): void {
  process.stderr.write(`isopod: ${writtenOut(sentence)}\n`);
}
