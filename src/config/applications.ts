import { APPLICATION_URL_WORDS, isApplicationUrl, type Target } from '../core/application.ts';
import {
  CREDENTIAL_TEXTS,
  type Credential,
  type CredentialKind,
  credentialOf,
  formProblem,
} from '../core/credential.ts';
import { DEFAULT_TENANT } from '../core/tenant.ts';
import type { Config } from './schema.ts';

type Given = { url?: string | undefined } & { [As in CredentialKind]?: string | { env: string } | undefined };

/** The applications that the settings name, by tenant, and a sentence about each thing that no application can have. */
export function configuredApplications(config: Config): { targets: Map<string, Target>; problems: string[] } {
  const { applicationUrl, applicationApiKey, applicationHeader, applicationCookie, applications } = config;
  const targets = new Map<string, Target>();
  const problems: string[] = [];
  const add = (tenant: string, given: Given, words: Words) => {
    const target = new Reading(config.credentials, words, problems).target(given);
    if (target !== null) targets.set(tenant, target);
  };
  const single: Given = {
    url: applicationUrl,
    apiKey: applicationApiKey,
    header: applicationHeader,
    cookie: applicationCookie,
  };
  const named = PARTS.filter((one) => single[one] !== undefined).map((one) => SINGLE[one]);
  if (named.length > 0) add(DEFAULT_TENANT, single, SINGLE);
  for (const [tenant, given] of Object.entries(applications)) {
    const at = `applications.${tenant}`;
    if (tenant === DEFAULT_TENANT && named.length > 0) {
      problems.push(`${[at, ...named].join(' and ')} are about the same tenant: leave out the one or the other`);
      continue;
    }
    add(tenant, given, { url: `${at}.url`, apiKey: `${at}.apiKey`, header: `${at}.header`, cookie: `${at}.cookie` });
  }
  return { targets, problems };
}

/** What the parts of an application are called where they are set. */
type Words = Readonly<Record<(typeof PARTS)[number], string>>;

const SINGLE: Words = {
  url: 'applicationUrl',
  apiKey: 'applicationApiKey',
  header: 'applicationHeader',
  cookie: 'applicationCookie',
};

const KINDS: readonly CredentialKind[] = ['apiKey', 'header', 'cookie'];
const PARTS = ['url', ...KINDS] as const;

class Reading {
  readonly #credentials: Readonly<Record<string, string>>;
  readonly #words: Words;
  readonly #problems: string[];

  constructor(credentials: Readonly<Record<string, string>>, words: Words, problems: string[]) {
    this.#credentials = credentials;
    this.#words = words;
    this.#problems = problems;
  }

  target({ url, ...given }: Given): Target | null {
    const kinds = KINDS.filter((one) => given[one] !== undefined);
    const [as, another] = kinds;
    if (url === undefined) {
      return this.#no(
        `${as === undefined ? this.#words.url : this.#words[as]} is of no use without ${this.#words.url}`,
      );
    }
    if (!isApplicationUrl(url)) return this.#no(`${this.#words.url} must be ${APPLICATION_URL_WORDS}`);
    if (another !== undefined) {
      return this.#no(`${kinds.map((one) => this.#words[one]).join(' and ')} are several credentials: leave one`);
    }
    if (as === undefined) return { url, credential: null };
    const credential = this.#credential(as, given[as] ?? '');
    return credential === null ? null : { url, credential };
  }

  #credential(as: CredentialKind, given: string | { env: string }): Credential | null {
    const at = this.#words[as];
    const text = typeof given === 'string' ? given : this.#variable(given.env);
    if (text === undefined) return this.#no(`${at}: there is no variable ${(given as { env: string }).env}`);
    const credential = credentialOf(as, text);
    if (credential === null) {
      return this.#no(
        `${at}${typeof given === 'string' ? '' : ` (${given.env})`} must be ${CREDENTIAL_TEXTS[as].words}`,
      );
    }
    const problem = formProblem(credential);
    return problem === null ? credential : this.#no(`${at}: ${problem}`);
  }

  #variable(name: string): string | undefined {
    return Object.hasOwn(this.#credentials, name) ? this.#credentials[name] : undefined;
  }

  #no(sentence: string): null {
    this.#problems.push(sentence);
    return null;
  }
}
