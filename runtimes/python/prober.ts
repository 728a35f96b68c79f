import { dirname } from 'node:path';
import { tried } from '../../src/confinement/attestation/invocation.ts';
import type { Probe, ProbeRun, Prober } from '../../src/confinement/attestation/prober.ts';
import type { Bind } from '../../src/confinement/room.ts';
import type { Invocation } from '../../src/core/invocation.ts';
import type { Outcome } from '../../src/core/outcome.ts';
import { inProbedHome, probedResidency } from '../../src/programs/probing.ts';

export type PythonProberOptions = Pick<Prober, 'tier' | 'isWish' | 'environment'> & {
  controllers: readonly string[];
  /** Runs one invocation in a resident of its own, which is gone after it. `files` are to be there for it. */
  run(invocation: Invocation, signal: AbortSignal, files: readonly Bind[]): Promise<Outcome>;
};

/** What a resident is given beside what every program is. */
const GIVEN = ['DISPATCHARR_PLUGINS_DIR', 'ISOPOD_DATA', 'PYTHONDONTWRITEBYTECODE'];

/** A plugin that starts a probe as plugins start programs, and answers what that says. */
const PLUGIN = `import json, subprocess, sys


class Plugin:
    name = "Attestation"

    def run(self, action, params, context):
        ran = subprocess.run([sys.executable, *params["command"]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        return json.loads(ran.stdout)["output"]
`;

/** Runs probes in residents, each in one of its own, from a plugin as any other. */
export class PythonProber implements Prober {
  readonly tier: string;
  readonly controllers: readonly string[];
  readonly isWish: boolean;
  readonly environment: readonly string[];
  readonly descriptors: readonly number[] = [];
  readonly #run: PythonProberOptions['run'];

  constructor({ tier, controllers, isWish, environment, run }: PythonProberOptions) {
    this.tier = tier;
    this.controllers = controllers;
    this.isWish = isWish;
    this.environment = [...environment, ...GIVEN];
    this.#run = run;
  }

  async run({ by, file, args, residentMb }: Probe): Promise<ProbeRun> {
    // Where there is no Python there are no residents, and nothing else to try it with.
    if (by !== 'python')
      return { stdout: null, failure: { code: 'plugin_boot_failed', message: 'there is no Python' } };
    const files: Bind[] = [{ path: dirname(file), mode: 'ro' }];
    return await inProbedHome({ name: 'plugin.py', text: PLUGIN }, (home) =>
      tried({ file, program: { runtime: 'python' }, residentMb }, (invocation, signal) => {
        const residency = probedResidency(invocation, home, 'resident-attestation');
        const probing: Invocation = {
          ...invocation,
          plugin: residency.plugin,
          residency,
          entry: { kind: 'action', name: 'probe', label: '', description: '', triggeredBy: [] },
          args: { command: [file, ...args] },
        };
        return this.#run(probing, signal, files);
      }),
    );
  }
}
