import { type Trial, tried } from '../../src/confinement/attestation/invocation.ts';
import type { Probe, ProbeRun, Prober } from '../../src/confinement/attestation/prober.ts';
import type { Runtime } from '../../src/core/runtime.ts';

export type ProcessProberOptions = Pick<Prober, 'tier' | 'isWish' | 'environment'> &
  Pick<Runtime, 'run'> & { controllers: readonly string[] };

/** Runs probes as plugins: through all that a plugin of theirs would go through. */
export class ProcessProber implements Prober {
  readonly tier: string;
  readonly controllers: readonly string[];
  readonly isWish: boolean;
  readonly environment: readonly string[];
  readonly descriptors: readonly number[] = [];
  readonly #run: Runtime['run'];

  constructor({ tier, controllers, isWish, environment, run }: ProcessProberOptions) {
    this.tier = tier;
    this.controllers = controllers;
    this.isWish = isWish;
    this.environment = environment;
    this.#run = run;
  }

  run({ by, file, args, residentMb }: Probe): Promise<ProbeRun> {
    const exec = [by === 'python' ? 'python3' : process.execPath, file, ...args];
    const program: Trial['program'] = { runtime: 'process', exec, speaks: 'raw' };
    return tried({ file, program, residentMb }, this.#run);
  }
}
