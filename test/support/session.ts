import type { Session } from '../../src/core/session.ts';

/** A session that asks whatever the test says, for tests of what is on this side of it. */
export function sessionOf({ graphql }: Pick<Session, 'graphql'>): Session {
  return {
    cookie: 'cookie',
    calls: 0,
    waitedMs: 0,
    graphql,
    runsAs: () => {},
    admit: () => {},
    handOver: () => {},
    end: () => {},
  };
}
