/**
 * What a plugin may add to a Content-Security-Policy: one host at a time. Anything else would end its directive and begin
 * another, or speak for the whole page: a nonce, a hash or 'strict-dynamic' makes browsers forget what other plugins
 * rely on, and `*` or `https:` makes the policy none.
 */
import { urlOf } from './paths.ts';

export type Directive = 'script-src' | 'style-src' | 'connect-src';

/** An expression in its shortest form, or why it is none. */
export type Judged = { ok: true; source: string } | { ok: false; why: string };

const LONGEST = 500;

export function judged(directive: Directive, entry: string): Judged {
  if (entry === '') return refused('it is empty');
  if (entry.length > LONGEST) return refused(`it is longer than ${LONGEST} characters`);
  if (!/^[\x21-\x7e]+$/.test(entry)) return refused('it has spaces, control characters or letters beyond ASCII in it');
  if (/[;,]/.test(entry)) return refused('it has a ; or , in it, which would begin something else');
  if (/['"]/.test(entry)) return refused('a plugin can add no keywords, nonces or hashes');
  const lone = /^([a-z][a-z0-9+.-]*:)\/*$/i.exec(entry)?.[1]?.toLowerCase();
  if (lone !== undefined) {
    return SCHEMES_ALONE[directive].includes(lone)
      ? { ok: true, source: lone }
      : refused(`${lone} alone would allow too much here`);
  }
  return hostSource(directive, entry);
}

/** A script or style on another server: the expression that allows this one. */
export function judgedUrl(part: string): Judged {
  const url = urlOf(part);
  if (url === null) return refused('it is no URL that a browser would fetch');
  // Neither the query nor the fragment counts, and what means something in a policy is written otherwise.
  const path = url.pathname.replace(/[;,']/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
  return judged('script-src', `${url.origin}${path}`);
}

const SCHEMES_ALONE: Record<Directive, readonly string[]> = {
  'script-src': ['blob:'],
  'style-src': ['blob:', 'data:'],
  'connect-src': ['blob:', 'data:', 'ws:', 'wss:'],
};

const SCHEMES: Record<Directive, readonly string[]> = {
  'script-src': ['http', 'https'],
  'style-src': ['http', 'https'],
  'connect-src': ['http', 'https', 'ws', 'wss'],
};

const EXPRESSION = /^(?:([A-Za-z][A-Za-z0-9+.-]*):\/\/)?([^/:]*)(?::([^/]*))?(\/.*)?$/;
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const PATH = /^(?:[A-Za-z0-9._~!$&()*+=:@/-]|%[0-9A-Fa-f]{2})*$/;

function hostSource(directive: Directive, entry: string): Judged {
  const found = EXPRESSION.exec(entry);
  if (found === null) return refused('it is not scheme://host:port/path');
  const [, scheme, host = '', port, path = ''] = found;
  if (scheme !== undefined && !SCHEMES[directive].includes(scheme.toLowerCase())) {
    return refused(`${scheme.toLowerCase()}:// is not possible here: ${SCHEMES[directive].join(', ')} are`);
  }
  const labels = host.toLowerCase().split('.');
  if (labels[0] === '*') {
    if (labels.length < 3) return refused('a * must have at least two names after it, as in *.example.org');
    labels.shift();
  }
  if (!labels.every((label) => LABEL.test(label))) return refused('its host is none');
  if (port !== undefined && !(/^[1-9]\d{0,4}$/.test(port) && Number(port) < 65_536)) return refused('its port is none');
  if (!PATH.test(path)) return refused('its path has characters that must be written as %XX');
  return {
    ok: true,
    source: `${scheme === undefined ? '' : `${scheme.toLowerCase()}://`}${host.toLowerCase()}${port === undefined ? '' : `:${port}`}${path}`,
  };
}

function refused(why: string): Judged {
  return { ok: false, why };
}
