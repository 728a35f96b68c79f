import { basename, dirname } from 'node:path';
import { tried } from '../../src/confinement/attestation/invocation.ts';
import type { Probe, ProbeRun, Prober } from '../../src/confinement/attestation/prober.ts';
import type { Runtime } from '../../src/core/runtime.ts';
import { type ExecutorOptions, executorCommand, executorEnvironment } from './executor.ts';

export type ExecutorProberOptions = Pick<ExecutorOptions, 'nodePath' | 'compileCache' | 'walls'> & Pick<Runtime, 'run'>;

/** Runs probes where executors are run, which is where a plugin finds itself after a hole in V8. */
export class ExecutorProber implements Prober {
  readonly tier: string;
  readonly isWish: boolean;
  readonly environment: readonly string[] = [];
  /** The channel. */
  readonly descriptors: readonly number[] = [3];
  readonly #options: ExecutorProberOptions;

  constructor(options: ExecutorProberOptions) {
    this.#options = options;
    this.tier = options.walls.tier;
    this.isWish = options.walls.isWish;
  }

  async run({ by, file, args }: Probe): Promise<ProbeRun> {
    const { nodePath, compileCache, walls } = this.#options;
    const script = [file, ...args];
    const command = by === 'python' ? ['/usr/bin/env', 'python3', ...script] : [nodePath, ...script];
    const words = by === 'executor' ? executorCommand(nodePath, script, walls) : command;
    const child = walls.spawn(words, ['ignore', 'pipe', 'ignore', 'pipe'], executorEnvironment(compileCache), [
      dirname(file),
    ]);
    const late = setTimeout(() => child.kill('SIGKILL'), WALL_MS);
    const { promise, resolve } = Promise.withResolvers<number | null>();
    let stdout = '';
    child.stdio[3]?.on('error', () => {});
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      if (stdout.length < OUTPUT_MOST) stdout += text;
    });
    child.once('error', () => resolve(null)).once('close', resolve);
    // Whoever it has left behind may hold its pipes.
    child.once('exit', (code) => setTimeout(() => resolve(code), DRAIN_MS).unref());
    const code = await promise;
    clearTimeout(late);
    if (code === 0) return { stdout, failure: null };
    // What env and a shell end with where there is no such program.
    const isMissing = code === null || code === 127;
    return {
      stdout: null,
      failure: isMissing
        ? { code: 'plugin_boot_failed', message: 'The probe could not be started' }
        : { code: 'plugin_crashed', message: `The probe ended with ${code}` },
    };
  }

  /** Executors are watched as they run, and they alone. */
  hoard(file: string, residentMb: number): Promise<ProbeRun> {
    return tried({ file, program: { runtime: 'isolate', file: basename(file) }, residentMb }, this.#options.run);
  }
}

const WALL_MS = 8_000;
const DRAIN_MS = 50;
const OUTPUT_MOST = 262_144;
