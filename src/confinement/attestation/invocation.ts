import { randomUUID } from 'node:crypto';
import { dirname } from 'node:path';
import { Failure } from '../../core/failure.ts';
import { NOTHING } from '../../core/grant.ts';
import type { Invocation } from '../../core/invocation.ts';
import type { Limits } from '../../core/limits.ts';
import type { Outcome } from '../../core/outcome.ts';
import type { Program } from '../../core/plugin.ts';
import type { Session } from '../../core/session.ts';
import type { ProbeRun } from './prober.ts';

/** No tenant is called so. */
const NOBODY = ' attestation';

const LIMITS: Limits = {
  wallMs: 15_000,
  cpuMs: 8_000,
  bootMs: 10_000,
  heapMb: 128,
  residentMb: 256,
  outputBytes: 262_144,
  logBytes: 65_536,
  logLines: 100,
  hostCalls: 0,
  hostCallsAtOnce: 1,
};

export type Trial = { file: string; program: Program; residentMb: number };

/** A probe as the invocation of a plugin that nobody has installed: it may do nothing but run. */
export async function tried(
  { file, program, residentMb }: Trial,
  run: (invocation: Invocation, signal: AbortSignal) => Promise<Outcome>,
): Promise<ProbeRun> {
  const controller = new AbortController();
  const late = new Failure('plugin_timeout', `The probe took longer than ${LIMITS.wallMs} ms`);
  const timer = setTimeout(() => controller.abort(late), LIMITS.wallMs);
  const outcome = await run(invocationOf(file, program, { ...LIMITS, residentMb }), controller.signal);
  clearTimeout(timer);
  if (outcome.ok) return { stdout: `{"output":${outcome.output}}`, failure: null };
  const { code, message, details } = outcome.failure;
  // That it took too long to start does not say that it could not be.
  const isSlow = details.limit?.name === 'bootMs';
  return { stdout: null, failure: { code: isSlow ? 'plugin_timeout' : code, message } };
}

function invocationOf(file: string, program: Program, limits: Limits): Invocation {
  const dir = dirname(file);
  return {
    id: randomUUID(),
    tenant: NOBODY,
    depth: 0,
    trust: NOBODY,
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
      program,
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
    // Nobody is there, but a relay may be started that leads there: not as root, so it is none of root's ports.
    endpoint: { scheme: 'http', host: '127.0.0.1', port: 1_024, dir },
    session: TO_NOBODY,
    deadlineAt: performance.now() + limits.wallMs,
    watch: undefined,
  };
}

const TO_NOBODY: Session = {
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
  handOver: () => {},
  end: () => {},
};
