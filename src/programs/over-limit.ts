/** What a program is ended for: the failures of whoever goes over a limit. */
import type { Refusal } from '../confinement/cgroup/group.ts';
import { MOST_PROCESSES } from '../confinement/launcher.ts';
import type { Sample } from '../confinement/tree.ts';
import { Failure } from '../core/failure.ts';
import type { Limits } from '../core/limits.ts';

export function tooLong(allowed: number, observed: number): Failure {
  const limit = { name: 'outputBytes', allowed, observed, unit: 'bytes' } as const;
  return new Failure('plugin_output_too_large', 'Answered more than it may', { limit });
}

export function overLimit({ cpuMs, processes }: Sample, limits: Pick<Limits, 'cpuMs'>): Failure | null {
  if (cpuMs > limits.cpuMs) {
    const limit = { name: 'cpuMs', allowed: limits.cpuMs, observed: cpuMs, unit: 'ms' } as const;
    return new Failure('plugin_cpu_exceeded', 'Used more processor time than it may', { limit });
  }
  if (processes > MOST_PROCESSES) {
    const limit = { name: 'processes', allowed: MOST_PROCESSES, observed: processes, unit: 'count' } as const;
    return new Failure('plugin_resource_exceeded', 'Started more processes than it may', { limit });
  }
  return null;
}

export function refused(refusal: Refusal | null = null): Failure | null {
  if (refusal === null) return null;
  const { what, allowed, observed } = refusal;
  if (what === 'memory') {
    const limit = { name: 'residentMb', allowed, observed, unit: 'bytes' } as const;
    return new Failure('plugin_memory_exceeded', 'Used more memory than it may', { limit });
  }
  const limit = { name: 'tasks', allowed, observed, unit: 'count' } as const;
  return new Failure('plugin_resource_exceeded', 'Started more processes and threads than it may', { limit });
}

export function tooLarge(allowed: number, observed: number): Failure | null {
  if (observed <= allowed) return null;
  const limit = { name: 'residentMb', allowed, observed, unit: 'bytes' } as const;
  return new Failure('plugin_memory_exceeded', 'Used more memory than it may', { limit });
}

/**
 * What is beyond `logBytes` is dropped, which is all that an honest program notices. This is for those that write for
 * the sake of it: to read and drop that takes a good part of a core, and it is ours.
 */
export function mostLoggedBytes({ logBytes }: Pick<Limits, 'logBytes'>): number {
  return Math.max(64 * logBytes, LEAST_FLOOD);
}

export function tooMuchLogged(allowed: number, observed: number): Failure {
  const limit = { name: 'logBytes', allowed, observed, unit: 'bytes' } as const;
  return new Failure('plugin_resource_exceeded', 'Wrote far more to its log than it may', { limit });
}

export function bootedTooSlowly(allowed: number): Failure {
  const limit = { name: 'bootMs', allowed, observed: allowed, unit: 'ms' } as const;
  return new Failure('plugin_boot_failed', 'Took longer to start than it may', { limit });
}

const LEAST_FLOOD = 64 << 20;
