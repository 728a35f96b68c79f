import { fileURLToPath } from 'node:url';

/**
 * Where Node keeps our own files with their types stripped and their code compiled, beside the packages they were
 * installed with. It halves the start of a process, and saves it a third of its memory. Where it cannot be written,
 * everything works without.
 */
export const COMPILE_CACHE = fileURLToPath(new URL('../node_modules/.cache/isopod', import.meta.url));
