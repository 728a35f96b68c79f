import { writeFileSync } from 'node:fs';
import { filterName } from '../seccomp.ts';
import { assemble } from './assembler.ts';
import { ARCHITECTURES, type Architecture } from './calls.ts';
import { type Kind, RULES } from './rules.ts';

// `npm run build:seccomp` writes the filters beside this file anew. They are committed, so that nothing is made of the
// rules where the service runs, and a test says when they do not fit the rules.
for (const architecture of Object.keys(ARCHITECTURES) as Architecture[]) {
  for (const kind of Object.keys(RULES) as Kind[]) {
    const bytes = assemble(RULES[kind], architecture);
    writeFileSync(new URL(filterName(kind, architecture), import.meta.url), bytes);
    console.log(`${filterName(kind, architecture)}: ${bytes.length / 8} instructions`);
  }
}
