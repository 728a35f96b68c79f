/** What an application is shown by whoever may call it. It goes in a header, or in a cookie; plugins never see it. */
export type CredentialForm =
  /** In the header that Stash wants it in. */
  { as: 'apiKey' } | { as: 'header' | 'cookie'; name: string };

export type Credential = CredentialForm & { value: string };

export type CredentialKind = CredentialForm['as'];

/** Variables that hold credentials, for the records of tenants. */
export const CREDENTIAL_VARIABLE = '^ISOPOD_CREDENTIAL_[A-Z0-9_]{1,100}$';

/** A token of HTTP. */
const NAME = "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}";

/**
 * Visible ASCII but for the backslash. It is searched for in answers, so that it has to be long enough not to be met by
 * chance: 8 characters. A header's may have spaces inside; a cookie's is what RFC 6265 allows without quotes.
 */
const VALUES: Readonly<Record<CredentialKind, string>> = {
  apiKey: '[\\u0021-\\u005b\\u005d-\\u007e]{8,4096}',
  header: '[\\u0021-\\u005b\\u005d-\\u007e][\\u0020-\\u005b\\u005d-\\u007e]{6,4094}[\\u0021-\\u005b\\u005d-\\u007e]',
  cookie: '[\\u0021\\u0023-\\u002b\\u002d-\\u003a\\u003c-\\u005b\\u005d-\\u007e]{8,4096}',
};

/** Credentials as one text: what a pattern says of it, and what it is called in sentences. */
export const CREDENTIAL_TEXTS: Readonly<Record<CredentialKind, { pattern: string; words: string }>> = {
  apiKey: { pattern: `^${VALUES.apiKey}$`, words: '8 or more visible characters but \\' },
  header: {
    pattern: `^${NAME}: *${VALUES.header}$`,
    words: '"Name: value", the value of 8 or more visible characters but \\',
  },
  cookie: {
    pattern: `^${NAME}=${VALUES.cookie}$`,
    words: '"name=value", the value of 8 or more characters but , ; " \\',
  },
};

/** The credential that is written as one text; null where it is none. */
export function credentialOf(as: CredentialKind, text: string): Credential | null {
  if (!new RegExp(CREDENTIAL_TEXTS[as].pattern).test(text)) return null;
  if (as === 'apiKey') return { as, value: text };
  const [, name = '', value = ''] = /^([^=:]+)[=:] *(.*)$/.exec(text) ?? [];
  return { as, name, value };
}

/** Why no credential can have this form; null where it can. */
export function formProblem(form: CredentialForm): string | null {
  if (form.as === 'apiKey') return null;
  if (!new RegExp(`^${NAME}$`).test(form.name)) return `A ${form.as} cannot be called ${JSON.stringify(form.name)}`;
  const taken = form.as === 'header' && TAKEN.has(form.name.toLowerCase());
  return taken ? `The header ${form.name} is no place for a credential: it says how a request is sent` : null;
}

export function isValueOf(as: CredentialKind, value: string): boolean {
  return new RegExp(`^${VALUES[as]}$`).test(value);
}

/** The header that shows it. */
export function headerOf(credential: Credential): [name: string, value: string] {
  const { as, value } = credential;
  if (as === 'apiKey') return ['ApiKey', value];
  return as === 'header' ? [credential.name, value] : ['Cookie', `${credential.name}=${value}`];
}

/** Of the connection, of the body, or with a meaning of ours. */
const TAKEN: ReadonlySet<string> = new Set([
  'host',
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
  'content-length',
  'content-type',
  'content-encoding',
  'accept',
  'accept-encoding',
  'cookie',
  'set-cookie',
  'location',
  'isopod-hook-chain',
]);
