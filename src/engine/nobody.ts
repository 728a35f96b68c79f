import { Failure } from '../core/failure.ts';
import type { Desk } from '../core/resident.ts';

/** Where nothing is kept, a resident finds no settings, and nobody to tell anything. */
export const nobody: Desk = Object.freeze({
  settings: () => ({}),
  secrets: () => [],
  configure: async () => refuse(),
  described: () => {},
  updated: () => {},
  enqueue: async () => refuse(),
});

function refuse(): never {
  throw new Failure('conflict', 'Nothing is kept here: run the service for that');
}
