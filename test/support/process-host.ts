/** A service that runs one plugin and says so, to be killed in the middle of it: `process-host.ts <isolation> <exec>`. */
import type { Isolation } from '../../runtimes/process/isolation.ts';
import { Trial } from './process.ts';

const [isolation, exec = ''] = process.argv.slice(2);
const mark = process.env.TRIAL ?? '';
const trial = await Trial.start({ isolation: isolation as Isolation, environment: { HOST: mark } });
const running = trial.run([exec]);
console.log('running');
await running;
