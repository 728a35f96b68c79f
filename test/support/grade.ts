/** Says at which grade this run confines programs. In CI it has to be the full one, or there is no run. */
import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';

const ISOPOD = fileURLToPath(new URL('../../src/isopod.js', import.meta.url));

type Attested = { tier: string; grade: string };

export default async function setup(): Promise<void> {
  const { proven, stdout, stderr } = await check();
  const said = read(stdout);
  const line =
    said === null ? `unknown: ${firstLine(stderr)}` : KINDS.map((kind) => `${kind} ${said[kind]}`).join(', ');
  process.stdout.write(`isolation: ${line}\n`);
  if (proven || process.env.CI !== 'true') return;
  throw new Error(
    `In CI the full grade has to be proven, and is not. npm run setup; docs/SECURITY.md\n${stdout}${stderr}`,
  );
}

// Not in this folder, where there may be an isopod.yaml.
function check(): Promise<{ proven: boolean; stdout: string; stderr: string }> {
  const command = [ISOPOD, 'check', '--json', '--least', 'full'];
  return new Promise((resolve) => {
    execFile(process.execPath, command, { cwd: tmpdir(), timeout: 120_000 }, (error, stdout, stderr) => {
      resolve({ proven: error === null, stdout, stderr });
    });
  });
}

const KINDS = ['processes', 'residents', 'servers', 'executors'] as const;
type Kind = (typeof KINDS)[number];

function read(stdout: string): Record<Kind, string> | null {
  try {
    const { processes, residents, servers, executors } = JSON.parse(stdout) as Record<Kind, Attested>;
    return {
      processes: said(processes),
      residents: said(residents),
      servers: said(servers),
      executors: said(executors),
    };
  } catch {
    return null;
  }
}

function said({ grade, tier }: Attested): string {
  return `${grade} (${tier})`;
}

function firstLine(text: string): string {
  return text.trim().split('\n', 1)[0] ?? '';
}
