import { refused } from './refused.ts';

/** Refuses what would be no folder among those of plugins. */
export function assertKey(key: string): void {
  if (key === '.' || key === '..') throw refused(400, 'Invalid plugin path');
}
