import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// An exact pattern: what lies in fixtures is hostile and is run by tests only. Files run beside each other, so no test
// may depend on how fast anything is.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['**/fixtures/**', '**/node_modules/**'],
    // It is to have the same `graphql` as we do, as it has outside of tests.
    server: { deps: { inline: ['graphql-ws'] } },
    pool: 'forks',
    // Most of them wait most of the time, so that two fit on a machine of two processors.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    globalSetup: ['test/support/grade.ts', 'test/support/postgres.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    teardownTimeout: 5_000,
  },
});
