/** A service that runs one plugin and says so, to be killed in the middle of it: `process-host.ts <tier> <exec>`. */
import type { Tier } from '../../src/confinement/tier.ts';
import { Trial } from './process.ts';

const [tier, exec = ''] = process.argv.slice(2);
const mark = process.env.TRIAL ?? '';
const trial = await Trial.start({ tier: tier as Tier, environment: { HOST: mark } });
const running = trial.run([exec]);
console.log('running');
await running;
