import { Signer } from '@fastify/cookie';
import type { Chain, Link } from '../core/chain.ts';

/** More than a chain of the longest kind takes. */
const LETTERS_MOST = 12_000;

/** What is signed with the key that all nodes of a database share. Each kind of text is of no use as another. */
export class Seal {
  readonly #signer: Signer;

  constructor(key: Buffer) {
    this.#signer = new Signer(key);
  }

  sign(kind: Kind, value: string): string {
    return this.#signer.sign(`${kind}.${value}`).slice(kind.length + 1);
  }

  /** The value, or null where this is not its text. */
  unsign(kind: Kind, text: string): string | null {
    const { valid, value } = this.#signer.unsign(`${kind}.${text}`);
    return valid ? value.slice(kind.length + 1) : null;
  }

  seal(tenant: string, { root, by, links }: Chain): string {
    // The same ones stand in it again and again, and it has to fit into a header.
    const kinds = new Map<string, number>();
    const order = links.map(({ plugin, trigger }) => {
      const kind = JSON.stringify([plugin, trigger]);
      const at = kinds.get(kind) ?? kinds.size;
      kinds.set(kind, at);
      return at;
    });
    const all = [...kinds.keys()].map((kind) => JSON.parse(kind) as [string, string]);
    const sealed: Sealed = [tenant, root, by && [by.plugin, by.invocation], all, order];
    return this.sign('chain', Buffer.from(JSON.stringify(sealed)).toString('base64url'));
  }

  open(tenant: string, text: string): Chain | null {
    const value = text.length > LETTERS_MOST ? null : this.unsign('chain', text);
    if (value === null) return null;
    // It is our own text: nobody else could have signed it.
    const [owner, root, by, kinds, order] = JSON.parse(Buffer.from(value, 'base64url').toString()) as Sealed;
    if (owner !== tenant) return null;
    const links = order.map((at): Link => {
      const [plugin, trigger] = kinds[at] as [string, string];
      return { plugin, trigger };
    });
    return { root, by: by && { plugin: by[0], invocation: by[1] }, links };
  }
}

export type Kind = 'session' | 'chain';

type Sealed = [
  tenant: string,
  root: string,
  by: [plugin: string, invocation: string] | null,
  kinds: [plugin: string, trigger: string][],
  order: number[],
];
