import { GraphQLSchema } from 'graphql';
import type { OwnFields } from '../core/graphql.ts';

/** Where nothing is answered in the application's place. */
export const noFields: OwnFields = {
  schema: new GraphQLSchema({}),
  ownerOf: () => 'theirs',
  execute: async () => ({ data: {} }),
};
