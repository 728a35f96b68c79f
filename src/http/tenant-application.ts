/** The application of a tenant, as operators set it and see it. Its credential is in the environment of each node. */
import { type Static, Type } from 'typebox';
import {
  APPLICATION_URL,
  APPLICATION_URL_WORDS,
  type ApplicationRecord,
  isApplicationUrl,
} from '../core/application.ts';
import { CREDENTIAL_VARIABLE, type CredentialForm, formProblem } from '../core/credential.ts';
import { Failure } from '../core/failure.ts';
import { OrNull } from './schemas.ts';

const closed = { additionalProperties: false } as const;

const CredentialSchema = Type.Object(
  {
    as: Type.Enum(['apiKey', 'header', 'cookie'], { description: 'The header ApiKey, another header, or a cookie' }),
    name: Type.Optional(Type.String({ minLength: 1, maxLength: 100, description: 'Of the header or the cookie' })),
    env: Type.String({
      pattern: CREDENTIAL_VARIABLE,
      description: 'The variable that has the value, in the environment of each node; the value itself is kept nowhere',
    }),
  },
  closed,
);

export const ApplicationSchema = OrNull(
  Type.Object(
    {
      url: Type.String({ pattern: APPLICATION_URL, maxLength: 2_048, description: 'Base URL: they call its /graphql' }),
      credential: Type.Optional(OrNull(CredentialSchema)),
    },
    closed,
  ),
  { description: 'What its plugins serve and call back; null leaves it to the configuration' },
);

/** Throws `invalid_request`, never with the URL, which may have a password in it. */
export function applicationOf(given: Static<typeof ApplicationSchema>): ApplicationRecord | null {
  if (given === null) return null;
  const { url, credential } = given;
  if (!isApplicationUrl(url)) throw wrong('/application/url', `must be ${APPLICATION_URL_WORDS}`);
  if (credential === undefined || credential === null) return { url, credential: null };
  const { as, name, env } = credential;
  if (as === 'apiKey') {
    if (name !== undefined) throw wrong('/application/credential/name', 'is not for an API key: its header is ApiKey');
    return { url, credential: { as, env } };
  }
  if (name === undefined) throw wrong('/application/credential/name', `is missing: a ${as} has one`);
  const form: CredentialForm = { as, name };
  const problem = formProblem(form);
  if (problem !== null) throw wrong('/application/credential/name', problem);
  return { url, credential: { ...form, env } };
}

function wrong(at: string, problem: string): Failure {
  return new Failure('invalid_request', `${at} ${problem}`, { where: [{ at, problem }] });
}
