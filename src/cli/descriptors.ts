import { closeSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';

/**
 * Closes what whoever started us left open by mistake: descriptors without close-on-exec would reach every plugin.
 * Node marks low numbers, and all it opens itself but for the files of profilers. Linux only: elsewhere nothing tells.
 */
export function closeInherited(): void {
  for (const descriptor of numbers('/proc/self/fd')) {
    if (descriptor <= 2 || process.channel !== undefined) continue;
    try {
      const flags = /^flags:\s+([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8'))?.[1];
      if (flags === undefined || (Number.parseInt(flags, 8) & CLOSE_ON_EXEC) !== 0) continue;
      if (PROFILE.test(readlinkSync(`/proc/self/fd/${descriptor}`))) continue;
      closeSync(descriptor);
    } catch {
      // It was the descriptor that the folder was listed with.
    }
  }
}

const CLOSE_ON_EXEC = 0o2000000;
const PROFILE = /\/(perf|jit)-\d+\.(map|dump)$/;

function numbers(folder: string): number[] {
  try {
    return readdirSync(folder).map(Number);
  } catch {
    return [];
  }
}
