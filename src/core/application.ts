/** The application that a tenant's plugins serve and may call back, e.g. a Stash server. */
export interface Application {
  /** False where none is configured: then every call fails. */
  readonly isThere: boolean;
  /**
   * One GraphQL request, with the application's own credentials. `body` is the JSON text to POST; `chain` goes along in
   * the header that carries it (see `CHAIN_HEADER`). Resolves with whatever status came back; rejects with a Failure
   * where there is no answer (unreachable, too slow, too large, none configured), or with `signal.reason` when the
   * signal aborts.
   */
  graphql(body: string, signal: AbortSignal, chain?: string): Promise<{ status: number; body: string }>;
  /** A text of the application with `instead` wherever its credential stood. */
  redacted(text: string, instead: string): string;
}

/** Carries a sealed chain to the application, which passes it on with the events that follow from the call. */
export const CHAIN_HEADER = 'isopod-hook-chain';
