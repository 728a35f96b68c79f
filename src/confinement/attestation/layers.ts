import { GRADES, type Grade, type Layer } from '../../core/isolation.ts';

/**
 * What a program meets when it tries to get out, layer by layer, and the lowest grade that needs each. A grade is what
 * was proven, never what something is called: `limited` bounds what a program uses and ends it with what it started;
 * `fenced` keeps it to its own files and takes its privileges; `contained` leaves it no way to anybody else; `full` is an
 * empty room that is gone without trace. What no grade needs is told because it is worth knowing.
 *
 * `room` is below `contained`, as a program that may write on a disk can fill it up, which is everybody's loss.
 */
export const LAYERS = {
  environment: { name: 'Environment', from: 'limited' },
  descriptors: { name: 'Inherited descriptors', from: 'limited' },
  privileges: { name: 'No new privileges', from: 'limited' },
  memory: { name: 'Memory bounded', from: 'limited' },
  processes: { name: 'Processes bounded', from: 'limited' },
  files: { name: 'Files bounded', from: 'limited' },
  descendants: { name: 'Ends with its descendants', from: 'limited' },
  'own-files': { name: 'Own files only', from: 'fenced' },
  identity: { name: 'Identity of its own', from: 'fenced' },
  capabilities: { name: 'No capabilities', from: 'fenced' },
  'system-calls': { name: 'System-call filter', from: 'fenced' },
  network: { name: 'Network', from: 'contained' },
  sockets: { name: 'Other socket families', from: 'contained' },
  signals: { name: 'Signals and tracing', from: 'contained' },
  namespaces: { name: 'Nested namespaces', from: 'contained' },
  devices: { name: 'Devices', from: 'contained' },
  room: { name: 'Room for files bounded', from: 'contained' },
  'process-list': { name: 'Process list', from: 'full' },
  'read-only': { name: 'Read-only system', from: 'full' },
  'certain-end': { name: 'Certain end', from: 'full' },
  cgroup: { name: 'Control group', from: null },
  permissions: { name: "Node's permission model", from: null },
} as const satisfies Record<string, { name: string; from: Exclude<Grade, 'none'> | null }>;

export type LayerId = keyof typeof LAYERS;

/** The highest grade of which every layer holds, with those of all grades below it. A layer that is not there is absent. */
export function gradeOf(layers: readonly Layer[]): Grade {
  const held = new Set(layers.filter(({ state }) => state !== 'absent').map(({ id }) => id));
  let reached: Grade = 'none';
  for (const grade of GRADES.slice(1)) {
    if (Object.entries(LAYERS).some(([id, { from }]) => from === grade && !held.has(id))) break;
    reached = grade;
  }
  return reached;
}
