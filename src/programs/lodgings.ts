import { randomBytes } from 'node:crypto';
import type { Prober } from '../confinement/attestation/prober.ts';
import { isOpenToAll } from '../confinement/on-path.ts';
import { hasOwnFiles } from '../confinement/tier.ts';
import { Failure } from '../core/failure.ts';
import type { Plugin } from '../core/plugin.ts';
import type { Explanation } from '../core/runtime.ts';
import { Programs } from './programs.ts';
import { Rooms, type RoomsOptions } from './rooms.ts';

export type LodgingsOptions = Partial<RoomsOptions> & {
  /** The interpreter for plugins that ask for `python` or `python3`; without it the one on PATH. */
  pythonPath?: string;
};

/** Where all programs of this node run, and what they are run with: one for all runtimes that start any. */
export class Lodgings implements AsyncDisposable {
  readonly programs: Programs;
  readonly #options: RoomsOptions;
  /** Until there is one that is kept, nothing that lasts is anybody's. */
  #key: Buffer = randomBytes(32);
  #rooms: Promise<Rooms> | null = null;
  #refused: string | null = null;

  constructor(options: LodgingsOptions) {
    const { tier = 'auto', cgroup = 'auto', cpus = 0, environment = {}, pythonPath } = options;
    const { identityKey = () => this.#key } = options;
    this.#options = { tier, cgroup, cpus, environment, identityKey };
    this.programs = new Programs({
      path: process.env.PATH,
      pythonPath,
      isUsable: async (file) => {
        const { machine } = await this.rooms();
        return hasOwnFiles(machine.tier) || !machine.isRoot || machine.setpriv === null || (await isOpenToAll(file));
      },
    });
  }

  /** Found out once. Rejects with `sandbox_unavailable` where the machine does not have what is wished for. */
  rooms(): Promise<Rooms> {
    this.#rooms ??= this.#open();
    return this.#rooms;
  }

  /** From here on users are worked out from this. */
  identify(key: Buffer): void {
    this.#key = key;
  }

  /** Why there are none; null where nobody has been refused any. */
  get refused(): string | null {
    return this.#refused;
  }

  /** How the programs of a plugin run here, in words for its author; `whose` begins the sentence about their user. */
  async explain(runtime: string, tenant: string, plugin: Plugin, whose: string): Promise<Explanation> {
    try {
      const rooms = await this.rooms();
      const { machine, because } = rooms;
      const whom = machine.isRoot ? `; ${whose} as user ${rooms.identityOf(tenant, plugin)}` : '';
      return { runtime, way: machine.tier, because: because + whom };
    } catch (error) {
      return { runtime, way: 'none', because: Failure.from(error).message };
    }
  }

  /** What a prober has to know of where programs run. Does not reject. */
  async surroundings(): Promise<Required<Pick<Prober, 'tier' | 'controllers' | 'isWish' | 'environment'>>> {
    const { tier, controllers } = await this.rooms().then(
      ({ machine, controllers }) => ({ tier: machine.tier, controllers }),
      () => ({ tier: 'none', controllers: [] }),
    );
    return {
      tier,
      controllers,
      isWish: this.#options.tier !== 'auto',
      environment: Object.keys(this.#options.environment),
    };
  }

  /** One sentence for the log of a start: how sure it is here that nothing of a plugin stays behind. */
  async describe(): Promise<string> {
    const { machine, because } = await this.rooms();
    return `${machine.tier}: ${because}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const rooms = await this.#rooms?.catch(() => null);
    await rooms?.[Symbol.asyncDispose]();
  }

  async #open(): Promise<Rooms> {
    try {
      const rooms = await Rooms.open(this.#options);
      this.#refused = null;
      return rooms;
    } catch (error) {
      // What is lacking may be there the next time.
      this.#rooms = null;
      this.#refused = Failure.from(error).message;
      throw error;
    }
  }
}
