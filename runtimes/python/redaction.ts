import { REDACTED } from '../../src/core/application.ts';
import type { Desk } from '../../src/core/resident.ts';

/** Takes what is secret in a plugin's settings out of what it logs. */
export class Redaction {
  readonly #desk: Pick<Desk, 'secrets'>;
  #secrets: readonly string[] = [];

  constructor(desk: Pick<Desk, 'secrets'>) {
    this.#desk = desk;
  }

  /** They may have changed. Those of before are not forgotten: the plugin has not forgotten them, either. */
  look(): void {
    const now = this.#desk.secrets().filter((one) => one !== '');
    if (now.every((one) => this.#secrets.includes(one))) return;
    // Where one is part of another, the longer one goes first.
    const all = [...new Set([...now, ...this.#secrets])].slice(0, MOST);
    this.#secrets = all.sort((one, other) => other.length - one.length);
  }

  redacted(text: string): string {
    let result = text;
    for (const secret of this.#secrets) if (result.includes(secret)) result = result.replaceAll(secret, REDACTED);
    return result;
  }
}

const MOST = 100;
