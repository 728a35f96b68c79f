import { type Static, Type } from 'typebox';
import { Value } from 'typebox/value';

/** How attempts came out, by what was attempted: "ok", the name of an error, or "?" and why it could not be made. */
const Attempts = Type.Record(Type.String(), Type.String());
export type Attempts = Static<typeof Attempts>;

const OrNull = <S extends ReturnType<typeof Type.String>>(schema: S) => Type.Union([schema, Type.Null()]);

/** What a probe of the room prints. What is missing of `status` the kernel did not tell it. */
export const Findings = Type.Object({
  by: Type.Enum(['python', 'node']),
  /** The machine whose system calls it knows by number; null where it can make none itself. */
  machine: OrNull(Type.String()),
  uid: Type.Integer(),
  namespaces: Type.Record(Type.String(), OrNull(Type.String())),
  status: Type.Record(Type.String(), Type.String()),
  descriptors: Type.Array(Type.Object({ number: Type.Integer(), leads: OrNull(Type.String()) })),
  environment: Type.Object({ names: Type.Array(Type.String()), secret: Type.Boolean() }),
  /** Files and folders of others; folders of the system; canaries' folders, where the host looks afterwards. */
  reads: Attempts,
  writes: Attempts,
  plants: Attempts,
  /** Where a program is expected to write. */
  places: Attempts,
  rooms: Type.Array(
    Type.Object({ path: Type.String(), kind: Type.String(), bytes: Type.Number(), beyond: Type.String() }),
  ),
  longFile: Attempts,
  core: Type.Enum(['none', 'ok', 'collected', 'untried']),
  processes: Type.Object({ seen: Type.Integer(), canary: Type.Boolean() }),
  others: Attempts,
  network: Attempts,
  families: Attempts,
  calls: Attempts,
  nested: Attempts,
  rises: Attempts,
  /** Those that were opened, and those that stand open and were better not. */
  devices: Type.Object({ open: Type.Array(Type.String()), tries: Attempts }),
  survivors: Attempts,
});
export type Findings = Static<typeof Findings>;

/** Of the two probes that end by being stopped: how far they got, and what refused them, if anything did. */
export const Forks = Type.Object({ count: Type.Integer(), refused: OrNull(Type.String()) });
export const Hoard = Type.Object({ mb: Type.Integer(), refused: Type.Boolean() });

/** What Node's permission model refuses to what is started as an executor. */
export const Permissions = Type.Object({ isOn: Type.Boolean(), tries: Attempts });
export type Permissions = Static<typeof Permissions>;

export function findingsIn(report: unknown): Findings | null {
  return Value.Check(Findings, report) ? report : null;
}
