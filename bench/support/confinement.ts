/** How the service confines, and programs in Python for it to confine. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Files, Isopod } from './isopod.ts';
import { BODY } from './load.ts';

/** Settings of a service. */
export const UNCONFINED = { ISOPOD_ISOLATION_TIER: 'process-group' };
export const COLD = { ISOPOD_PROCESSES_PARKED: '0' };

/** Imports what a plugin that talks to its application does. */
export const PROGRAM = `import json, sys, urllib.request, sqlite3
args = json.load(sys.stdin)["args"]
json.dump({"output": {"name": args["name"], "total": sum(args["items"])}}, sys.stdout)
`;
const WHICH = 'import json, sys\njson.dump({"output": sys.executable}, sys.stdout)\n';

export function python(source: string): Files {
  return {
    'plugin.yml': 'name: Bench\ninterface: raw\nexec: [python, "{pluginDir}/program.py"]\n',
    'program.py': source,
  };
}

/** Beside what is measured: tells which Python it is, which is not the one on PATH if that looks for the real one. */
export const which = python(WHICH);

export async function interpreterOf(isopod: Isopod): Promise<string> {
  const { text } = await isopod.call('which');
  return (JSON.parse(text) as { output: string }).output;
}

/** The same program by itself, from its start to its end, in ms. */
export async function alone(interpreter: string, file: string): Promise<number> {
  const startedAt = performance.now();
  const child = spawn(interpreter, [file], { stdio: ['pipe', 'pipe', 'ignore'] });
  child.stdin.end(BODY);
  child.stdout.resume();
  await once(child, 'close');
  return performance.now() - startedAt;
}
