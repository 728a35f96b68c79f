import { request } from 'node:http';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tried } from '../../src/confinement/attestation/invocation.ts';
import type { Probe, ProbeRun, Prober } from '../../src/confinement/attestation/prober.ts';
import type { Bind } from '../../src/confinement/room.ts';
import { Failure } from '../../src/core/failure.ts';
import type { Invocation } from '../../src/core/invocation.ts';
import { noUsage, type Outcome } from '../../src/core/outcome.ts';
import type { Home, Residency } from '../../src/core/resident.ts';
import { inProbedHome, probedResidency } from '../../src/programs/probing.ts';
import type { NodeResident } from './resident.ts';

export type NodeProberOptions = Pick<Prober, 'tier' | 'isWish' | 'environment'> & {
  controllers: readonly string[];
  /** Starts a resident of its own. `files` are to be there for it. */
  begin(residency: Residency, files: readonly Bind[]): Promise<NodeResident>;
};

/** What a resident is given beside what every program is; Node hands its permissions down in the last of them. */
const GIVEN = ['ISOPOD_WIRE', 'NODE_ENV', 'NODE_OPTIONS'];

/** A plugin that starts a probe as plugins start programs, and answers what that says. */
const PLUGIN = `import { execFile } from 'node:child_process';

export const info = { id: 'attestation', name: 'Attestation', description: '' };
export const init = (router) => {
  router.post('/probe', (req, res) => {
    const [program, ...args] = req.body.command;
    execFile(program, args, (error, stdout) => res.json({ code: error === null ? 0 : error.code, stdout }));
  });
};
`;

/** Runs probes in residents, each in one of its own, from a plugin as any other. */
export class NodeProber implements Prober {
  readonly tier: string;
  readonly controllers: readonly string[];
  readonly isWish: boolean;
  readonly environment: readonly string[];
  readonly descriptors: readonly number[] = [];
  readonly #begin: NodeProberOptions['begin'];

  constructor({ tier, controllers, isWish, environment, begin }: NodeProberOptions) {
    this.tier = tier;
    this.controllers = controllers;
    this.isWish = isWish;
    this.environment = [...environment, ...GIVEN];
    this.#begin = begin;
  }

  async run({ by, file, args, residentMb }: Probe): Promise<ProbeRun> {
    const program = { runtime: 'node', file: null } as const;
    const command = by === 'python' ? ['python3', file, ...args] : [process.execPath, file, ...args];
    return await inProbedHome({ name: 'index.mjs', text: PLUGIN }, (home) =>
      tried({ file, program, residentMb }, (invocation, signal) =>
        this.#probe(invocation, home, { command, folder: dirname(file) }, signal),
      ),
    );
  }

  async #probe(
    invocation: Invocation,
    home: Home,
    { command, folder }: { command: string[]; folder: string },
    signal: AbortSignal,
  ): Promise<Outcome> {
    const residency = probedResidency(invocation, home, 'server-attestation');
    try {
      const resident = await this.#begin(residency, [{ path: folder, mode: 'ro' }]);
      const answer = asked(resident, command).then(outcomeOf, async (error: unknown) => {
        // Why it was ended is known when nothing is left of it.
        await Promise.race([resident.death, sleep(DEATH_MS, undefined, { ref: false })]);
        return failed(Failure.from(error));
      });
      const late = new Promise<Outcome>((resolve) => {
        signal.addEventListener('abort', () => resolve(failed(Failure.from(signal.reason))), { once: true });
      });
      const outcome = await Promise.race([resident.death.then(({ failure }) => failed(failure)), answer, late]);
      await resident.stop('shutdown');
      return outcome;
    } catch (error) {
      return failed(Failure.from(error));
    }
  }
}

type Ran = { code: number | string; stdout: string };

/** As the front end asks, over one connection. */
async function asked(resident: NodeResident, command: readonly string[]): Promise<Ran> {
  const visit = resident.visit({ id: 'probe', visitor: { handle: 'nobody', name: '', admin: false } });
  if (visit === null) throw new Failure('executor_lost', 'Its process is gone');
  using _leave = visit;
  const socket = await visit.upstream.dial();
  const { promise, resolve, reject } = Promise.withResolvers<Ran>();
  const lost = () => reject(new Failure('plugin_crashed', 'It has ended without an answer'));
  const headers = { ...visit.headers, 'content-type': 'application/json', connection: 'close' };
  const wanted = { method: 'POST', path: '/api/plugins/attestation/probe', headers };
  const sent = request({ ...wanted, createConnection: () => socket as Socket }, (response) => {
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    response.on('error', lost).on('end', () => resolve(JSON.parse(text)));
  });
  sent.on('error', lost).end(JSON.stringify({ command }));
  return await promise;
}

function outcomeOf({ code, stdout }: Ran): Outcome {
  if (code === 0) return { ok: true, output: JSON.stringify(JSON.parse(stdout).output), ...NOTHING_ELSE };
  const isMissing = code === 'ENOENT' || code === 127;
  const message = isMissing ? 'The probe could not be started' : `The probe ended with ${code}`;
  return failed(new Failure(isMissing ? 'plugin_boot_failed' : 'plugin_crashed', message));
}

function failed(failure: Failure): Outcome {
  return { ok: false, failure, ...NOTHING_ELSE };
}

const NOTHING_ELSE = { usage: noUsage, progress: null, logs: [], bootMs: 0, hostMs: 0 };

const DEATH_MS = 2_000;
