import { workerData } from 'piscina';
import { RawIsolate } from '../support/raw-isolate.ts';

// Piscina passes [its own, ours].
const isolate = new RawIsolate(Array.isArray(workerData) ? workerData[1] : workerData);

export default (args: string): string => isolate.run(args);
