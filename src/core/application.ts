/** The application that a tenant's plugins serve and may call back, e.g. a Stash server. */
export interface Application {
  /**
   * One GraphQL request. `body` is the JSON text to POST. Resolves with whatever status came back; rejects with a
   * Failure where there is no answer (unreachable, too slow, too large, none configured), or with
   * `signal.reason` when the signal aborts.
   */
  graphql(body: string, signal: AbortSignal): Promise<{ status: number; body: string }>;
}
