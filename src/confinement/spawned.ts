import { type StdioOptions, spawn } from 'node:child_process';

/** Runs a program to its end and tells what it said, bounded in time and length. Does not reject. */
export function spawned(
  [file = '', ...args]: readonly string[],
  stdio: StdioOptions,
  env: Record<string, string> = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const { promise, resolve } = Promise.withResolvers<{ code: number | null; stdout: string; stderr: string }>();
  const said = { stdout: '', stderr: '' };
  const child = spawn(file, args, { stdio, env, cwd: '/', timeout: PATIENCE_MS, killSignal: 'SIGKILL' });
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      if (said[name].length < LONGEST) said[name] += text;
    });
  }
  child.once('error', (error) => resolve({ code: null, stdout: '', stderr: error.message }));
  child.once('close', (code) => resolve({ code, ...said }));
  return promise;
}

const PATIENCE_MS = 5_000;
const LONGEST = 65_536;
