import { randomUUID } from 'node:crypto';
import { dirname } from 'node:path';
import type { Probe, Prober, ProbeRun } from '../../src/confinement/attestation/prober.ts';
import { Failure } from '../../src/core/failure.ts';
import { NOTHING } from '../../src/core/grant.ts';
import type { Invocation } from '../../src/core/invocation.ts';
import type { Limits } from '../../src/core/limits.ts';
import type { Outcome } from '../../src/core/outcome.ts';
import type { Session } from '../../src/core/session.ts';

export type ProcessProberOptions = Pick<Prober, 'tier' | 'isWish' | 'environment'> & {
  run(invocation: Invocation, signal: AbortSignal): Promise<Outcome>;
};

/** Runs probes as plugins: through all that a plugin of theirs would go through. */
export class ProcessProber implements Prober {
  readonly tier: string;
  readonly isWish: boolean;
  readonly environment: readonly string[];
  readonly descriptors: readonly number[] = [];
  readonly #run: ProcessProberOptions['run'];

  constructor({ tier, isWish, environment, run }: ProcessProberOptions) {
    this.tier = tier;
    this.isWish = isWish;
    this.environment = environment;
    this.#run = run;
  }

  async run(probe: Probe): Promise<ProbeRun> {
    const late = new Failure('plugin_timeout', `The probe took longer than ${LIMITS.wallMs} ms`);
    const outcome = await this.#run(invocationOf(probe), stoppedAfter(LIMITS.wallMs, late));
    if (outcome.ok) return { stdout: `{"output":${outcome.output}}`, failure: null };
    const { code, message } = outcome.failure;
    return { stdout: null, failure: { code, message } };
  }
}

const LIMITS: Limits = {
  wallMs: 8_000,
  cpuMs: 8_000,
  bootMs: 5_000,
  heapMb: 128,
  residentMb: 256,
  outputBytes: 262_144,
  logBytes: 65_536,
  logLines: 100,
  hostCalls: 0,
  hostCallsAtOnce: 1,
};

function invocationOf({ by, file, args, residentMb }: Probe): Invocation {
  const dir = dirname(file);
  const limits = { ...LIMITS, residentMb };
  return {
    id: randomUUID(),
    // No tenant is called so.
    tenant: ' attestation',
    depth: 0,
    trust: ' attestation',
    plugin: {
      id: 'attestation',
      dialect: 'stash',
      name: 'Attestation',
      description: null,
      url: null,
      version: null,
      dir,
      realDir: dir,
      manifestFile: file,
      program: { runtime: 'process', exec: [by === 'python' ? 'python3' : process.execPath, file, ...args], speaks: 'raw' },
      entries: [],
      settings: [],
      ui: null,
      errLog: null,
    },
    entry: { kind: 'operation' },
    args: {},
    limits,
    usualLimits: limits,
    grant: NOTHING,
    endpoint: { scheme: 'http', host: '127.0.0.1', port: 1, dir },
    session: NO_SESSION,
    deadlineAt: performance.now() + limits.wallMs,
    watch: undefined,
  };
}

function stoppedAfter(ms: number, failure: Failure): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => controller.abort(failure), ms).unref();
  return controller.signal;
}

/** A way to nobody. */
const NO_SESSION: Session = {
  cookie: '',
  calls: 0,
  waitedMs: 0,
  graphql: async () => {
    throw new Failure('application_error', 'There is no application here');
  },
  runsAs: () => {},
  admit: (connection) => {
    connection.on('error', () => {}).end();
  },
  end: () => {},
};
