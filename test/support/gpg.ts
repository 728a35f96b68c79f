/** Real signatures by a real gpg, with keys that live as long as their folder. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class TestKey implements Disposable {
  readonly publicKey: string;
  readonly #home: string;

  /** `algorithm` as gpg names it. */
  constructor(algorithm = 'ed25519') {
    this.#home = mkdtempSync(join(tmpdir(), 'isopod-gpg-'));
    const whose = 'Repository <repository@example.com>';
    this.#gpg(['--passphrase', '', '--quick-generate-key', whose, algorithm, 'sign', 'never']);
    this.publicKey = this.#gpg(['--armor', '--export']);
  }

  /** A detached signature, armored. */
  sign(bytes: string | Buffer): string {
    return this.#gpg(['--armor', '--detach-sign'], bytes);
  }

  [Symbol.dispose](): void {
    execFileSync('gpgconf', ['--homedir', this.#home, '--kill', 'all'], { stdio: 'ignore' });
    rmSync(this.#home, { recursive: true, force: true });
  }

  #gpg(words: readonly string[], input: string | Buffer = ''): string {
    const options = ['--homedir', this.#home, '--batch', '--quiet', '--pinentry-mode', 'loopback'];
    return execFileSync('gpg', [...options, ...words], { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'ignore'] });
  }
}

/** What Python writes, each by itself. */
export function pythonDumps(texts: readonly string[]): string[] {
  const script =
    'import json,sys\nprint(json.dumps([json.dumps(json.loads(t),separators=(",",":")) for t in json.load(sys.stdin)]))';
  return JSON.parse(execFileSync('python3', ['-c', script], { input: JSON.stringify(texts), encoding: 'utf8' }));
}
