import type { Credential, CredentialForm } from './credential.ts';

/** The application that a tenant's plugins serve and may call back, e.g. a Stash server. */
export interface Application {
  /** False where none is configured: then every call fails. */
  readonly isThere: boolean;
  /**
   * One GraphQL request, with the application's own credentials. `body` is the JSON text to POST; `chain` goes along in
   * the header that carries it (see `CHAIN_HEADER`). Resolves with whatever status came back, and `instead` in the text
   * where the credential was; rejects with a Failure where there is no answer (unreachable, too slow, too large, none
   * configured), or with `signal.reason` when the signal aborts.
   */
  graphql(
    body: string,
    signal: AbortSignal,
    chain?: string,
    instead?: string,
  ): Promise<{ status: number; body: string }>;
}

/** Carries a sealed chain to the application, which passes it on with the events that follow from the call. */
export const CHAIN_HEADER = 'isopod-hook-chain';

/** In place of a credential, where nothing else is said. */
export const REDACTED = '[redacted]';

/** Where an application is, and what it is shown. */
export type Target = { url: string; credential: Credential | null };

/** The same as it is kept of a tenant: of the credential, only the name of the variable that each node has it in. */
export type ApplicationRecord = { url: string; credential: (CredentialForm & { env: string }) | null };

/** Pattern of a base URL; see `isApplicationUrl` for what no pattern says. */
export const APPLICATION_URL =
  '^https?://[^/?#@\\\\\\s\\u0000-\\u0020\\u007f]+(/[^?#\\\\\\s\\u0000-\\u0020\\u007f]*)?$';

export const APPLICATION_URL_WORDS = 'an http:// or https:// URL without query, fragment or password';

/** Where calls go is said by it alone: it has no other parts that clients understand in different ways. */
export function isApplicationUrl(text: string): boolean {
  if (!new RegExp(APPLICATION_URL).test(text) || text.length > 2_048) return false;
  const url = URL.parse(text);
  return url !== null && url.username === '' && url.password === '' && url.search === '' && url.hash === '';
}
