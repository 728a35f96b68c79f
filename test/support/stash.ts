/** What a client of Stash does, over a real socket. */
import type { Answer, TestService } from './client.ts';

export type Asked = {
  variables?: Record<string, unknown>;
  token?: string;
  tenant?: string;
  headers?: Record<string, string>;
};

/** POST to /graphql. */
export function graphql(service: TestService, query: string, asked: Asked = {}): Promise<Answer> {
  const { variables, token, tenant, headers = {} } = asked;
  return service.ask('POST', `${tenant === undefined ? '' : `/t/${tenant}`}/graphql`, {
    body: { query, variables },
    headers,
    ...(token === undefined ? {} : { token }),
  });
}

/** Its data; throws where there are errors. */
// biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came back
export async function dataOf(service: TestService, query: string, asked: Asked = {}): Promise<any> {
  const { status, body } = await graphql(service, query, asked);
  if (status !== 200 || body.errors !== undefined) throw new Error(`${status} ${JSON.stringify(body)}`);
  return body.data;
}
