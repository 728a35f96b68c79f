/** The command line: what `isopod` runs once isopod.js has seen that this Node is new enough. */
import { enableCompileCache } from 'node:module';
import { COMPILE_CACHE } from './compile-cache.ts';

// Before the rest is loaded, which is what it is for.
enableCompileCache(COMPILE_CACHE);
const { main } = await import('./cli/program.ts');
process.exitCode = await main(process.argv.slice(2));
