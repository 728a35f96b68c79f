/** What runs in the thread: see notary.ts. */
import { createMessage, type Key, readKeys, readSignature, verify as verifyMessage } from 'openpgp';
import { pythonMembers } from './python-json.ts';

export type SignatureTask = { text: string; publicKey: string };

/** Each is a check of its own, and an honest manifest has one. */
const SIGNATURES_MOST = 4;
const KEYS_MOST = 8;
const BLOCKS = /-----BEGIN PGP PUBLIC KEY BLOCK-----.*?-----END PGP PUBLIC KEY BLOCK-----/gs;

/**
 * Whether a manifest is signed with one of these keys. Throws for whatever cannot be read. Nothing may stand beside the
 * manifest and its signature: nobody has signed that.
 */
export async function verify({ text, publicKey }: SignatureTask): Promise<boolean> {
  const members = pythonMembers(text);
  const manifest = members.get('manifest');
  const armored: unknown = JSON.parse(members.get('signature') ?? 'null');
  if (manifest === undefined || typeof armored !== 'string' || members.size > 2) return false;
  const signature = await readSignature({ armoredSignature: armored });
  const keys: Key[] = [];
  for (const [block] of publicKey.matchAll(BLOCKS)) keys.push(...(await readKeys({ armoredKeys: block })));
  if (signature.packets.length > SIGNATURES_MOST || keys.length > KEYS_MOST) return false;
  const message = await createMessage({ binary: Buffer.from(`${manifest}\n`) });
  const { signatures } = await verifyMessage({ message, signature, verificationKeys: keys });
  const verdicts = await Promise.allSettled(signatures.map(({ verified }) => verified));
  return verdicts.some((one) => one.status === 'fulfilled' && one.value);
}
