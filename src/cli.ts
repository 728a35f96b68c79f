#!/usr/bin/env node
/**
 * The gate: an old Node gets a sentence here instead of a syntax error from further in. So this file uses nothing new,
 * and loads the rest only after it has looked.
 */
const OLDEST = 24;

if (Number.parseInt(process.versions.node, 10) < OLDEST) {
  process.stderr.write(`isopod needs Node ${OLDEST} or newer, and this is ${process.version}\n`);
  process.exitCode = 2;
} else {
  const { enableCompileCache } = await import('node:module');
  const { COMPILE_CACHE } = await import('./compile-cache.ts');
  enableCompileCache(COMPILE_CACHE);
  const { main } = await import('./cli/program.ts');
  process.exitCode = await main(process.argv.slice(2));
}
