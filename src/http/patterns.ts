import { APPLICATION_URL, APPLICATION_URL_WORDS } from '../core/application.ts';
import { CREDENTIAL_VARIABLE } from '../core/credential.ts';
import { JOB_STATES } from '../core/job.ts';
import { TENANT_ID } from '../core/tenant.ts';

/** States of jobs, one or several. */
export const STATES = `^(${JOB_STATES.join('|')})(,(${JOB_STATES.join('|')}))*$`;

/** What patterns of our schemas allow, in words: a regular expression tells nobody what to do. */
export const ALLOWED: ReadonlyMap<string, string> = new Map([
  [APPLICATION_URL, APPLICATION_URL_WORDS],
  [CREDENTIAL_VARIABLE, 'a name like ISOPOD_CREDENTIAL_ACME: capital letters, digits and _ after ISOPOD_CREDENTIAL_'],
  [TENANT_ID.source, 'up to 63 small letters, digits, _ and -, beginning with a letter or a digit'],
  [STATES, `one of ${JOB_STATES.join(', ')}, or several with commas between them`],
  ['^[^\\u0000]*$', 'text without U+0000'],
  ['^[^\\u0000-\\u001f\\u007f]*$', 'text without control characters'],
  ['^[^\\p{Cc}\\p{Cs}]+$', 'text without control characters'],
]);
