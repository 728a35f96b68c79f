#!/usr/bin/env node
/**
 * The gate: an old Node gets a sentence here instead of a syntax error from further in. So this file is plain
 * JavaScript of long ago, and loads the rest only after it has looked.
 */
const OLDEST = '24.9';

const [major, minor] = process.versions.node.split('.').map(Number);
const [oldestMajor, oldestMinor] = OLDEST.split('.').map(Number);

if (major < oldestMajor || (major === oldestMajor && minor < oldestMinor)) {
  process.stderr.write(`isopod needs Node ${OLDEST} or newer, and this is ${process.version}\n`);
  process.exitCode = 2;
} else {
  await import('./cli.ts');
}
