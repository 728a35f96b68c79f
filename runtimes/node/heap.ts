/**
 * What V8 may fill of the memory that a program has before it looks for what can be thrown away. It would else go by the
 * memory of the whole machine, and be ended for what it has not thrown away yet.
 */
export function heapMbOf(residentMb: number): number {
  return Math.ceil(residentMb * HEAP_SHARE);
}

const HEAP_SHARE = 0.6;
