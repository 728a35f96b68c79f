/**
 * What one invocation may use. Configuration sets the most; a plugin's own limits and then the caller may
 * lower a limit, never raise it.
 */
export type Limits = {
  /** Wall clock from the moment a place was found until the answer, in ms. */
  wallMs: number;
  /** Processor time inside the plugin, apart from wall time, in ms. */
  cpuMs: number;
  /** Wall clock until the plugin's code is ready to run (compile, spawn), in ms. */
  bootMs: number;
  /** V8 heap of an isolate, in MB. */
  heapMb: number;
  /** Resident memory of whatever runs the plugin (executor or process tree), beyond its idle size, in MB. */
  residentMb: number;
  /** The answer, in bytes of UTF-8. */
  outputBytes: number;
  /** Log text kept, in bytes; what is beyond is dropped and counted. */
  logBytes: number;
  /** Log lines kept; what is beyond is dropped and counted. */
  logLines: number;
  /** Calls of the application (`gql.Do`). */
  hostCalls: number;
  /** Calls of the application under way at the same time. Embedded plugins wait for each, so they have one at most. */
  hostCallsAtOnce: number;
};

export type LimitName = keyof Limits;

/** `limits`, each lowered to `wish` where the wish is lower; the same object where none is. */
export function lowered(limits: Limits, wish: Partial<Limits> | undefined): Limits {
  if (wish === undefined) return limits;
  let result = limits;
  for (const name of Object.keys(wish) as LimitName[]) {
    const asked = wish[name];
    if (asked !== undefined && asked < result[name]) result = { ...result, [name]: asked };
  }
  return result;
}
