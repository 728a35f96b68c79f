import { REDACTED } from '../../src/core/application.ts';
import type { Desk } from '../../src/core/resident.ts';
import { Words } from './words.ts';

/** Takes what is secret in a plugin's settings out of what it says. */
export class Redaction {
  readonly #desk: Pick<Desk, 'secrets'>;
  #secrets: readonly string[] = [];
  #words = new Words([]);

  constructor(desk: Pick<Desk, 'secrets'>) {
    this.#desk = desk;
    this.look();
  }

  /** They may have changed. Those of before are not forgotten: the plugin has not forgotten them, either. */
  look(): void {
    const now = this.#desk.secrets().filter((one) => one !== '' && one.length <= LONGEST);
    if (now.every((one) => this.#secrets.includes(one))) return;
    this.#secrets = [...new Set([...now, ...this.#secrets])].slice(0, MOST);
    // Also as it stands in JSON, and in what Python prints of a dict.
    this.#words = new Words(this.#secrets.flatMap((one) => [one, ...escaped(one)]));
  }

  redacted(text: string): string {
    return this.#words.replaced(text, REDACTED);
  }
}

function escaped(secret: string): string[] {
  const inJson = JSON.stringify(secret).slice(1, -1);
  const inPython = inJson.replaceAll('\\"', '"').replaceAll("'", "\\'");
  return [inJson, inPython].filter((one) => one !== secret);
}

const MOST = 20;
/** What is longer is no password, and nobody looks for it. */
const LONGEST = 256;
