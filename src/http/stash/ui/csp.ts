import type { Plugin } from '../../../core/plugin.ts';
import { stripped } from '../../../core/text.ts';
import { isExternal } from './paths.ts';
import { type Directive, type Judged, judged, judgedUrl } from './source-expression.ts';

export type RefusedSource = { plugin: string; directive: Directive; source: string; why: string };

export type Policy = {
  /** The value of the header. */
  policy: string;
  directives: Record<string, string[]>;
  refused: RefusedSource[];
};

/** What Stash's own pages need. www.gstatic.com is for casting, by the scheme of the page. */
const DEFAULTS: Readonly<Record<string, readonly string[]>> = {
  'default-src': ['data:', "'self'", "'unsafe-inline'"],
  'connect-src': ['data:', "'self'", 'ws:', 'wss:'],
  'img-src': ['data:', '*'],
  'media-src': ['blob:', "'self'"],
  'script-src': ["'self'", 'www.gstatic.com', "'unsafe-inline'", "'unsafe-eval'"],
  'style-src': ["'self'", "'unsafe-inline'"],
  'worker-src': ['blob:'],
  'child-src': ["'none'"],
  'object-src': ["'none'"],
  'form-action': ["'self'"],
};

/** Of each list of a plugin so many are looked at, and it adds so much; servers refuse answers with long headers. */
const ENTRIES_MOST = 100;
const PLUGIN_CHARACTERS = 2_000;
const ALL_CHARACTERS = 12_000;

/** The policy under which these plugins work on a page. What is not acceptable of them is left out, and told. */
export function policyOf(plugins: readonly Pick<Plugin, 'id' | 'ui'>[]): Policy {
  const directives = Object.fromEntries(Object.entries(DEFAULTS).map(([name, sources]) => [name, [...sources]]));
  const refused: RefusedSource[] = [];
  let all = 0;
  for (const { id, ui } of plugins) {
    if (ui === null) continue;
    let own = 0;
    for (const { directive, source, verdict } of wishes(ui)) {
      const refuse = (why: string) => refused.push({ plugin: id, directive, source: stripped(source, 200), why });
      const sources = directives[directive] as string[];
      if (!verdict.ok) {
        refuse(verdict.why);
        continue;
      }
      if (sources.includes(verdict.source)) continue;
      const length = verdict.source.length + 1;
      if (own + length > PLUGIN_CHARACTERS) refuse(`one plugin can add ${PLUGIN_CHARACTERS} characters at most`);
      else if (all + length > ALL_CHARACTERS) refuse(`all plugins can add ${ALL_CHARACTERS} characters at most`);
      else {
        own += length;
        all += length;
        sources.push(verdict.source);
      }
    }
  }
  const policy = Object.entries(directives).map(([name, sources]) => `${name} ${sources.join(' ')}`);
  return { policy: policy.join('; '), directives, refused };
}

type Wish = { directive: Directive; source: string; verdict: Judged };

function* wishes(ui: NonNullable<Plugin['ui']>): Generator<Wish> {
  const external = { 'script-src': ui.javascript, 'style-src': ui.css };
  for (const directive of ['script-src', 'style-src'] as const) {
    const urls = external[directive].filter(isExternal);
    yield* some(directive, urls, judgedUrl);
  }
  for (const directive of ['script-src', 'style-src', 'connect-src'] as const) {
    yield* some(directive, ui.csp[directive], (entry) =>
      // What is there for everybody may be asked for, too.
      DEFAULTS[directive]?.includes(entry) === true ? { ok: true, source: entry } : judged(directive, entry),
    );
  }
}

function* some(directive: Directive, entries: readonly string[], judge: (entry: string) => Judged): Generator<Wish> {
  for (const source of entries.slice(0, ENTRIES_MOST)) yield { directive, source, verdict: judge(source) };
  const next = entries[ENTRIES_MOST];
  if (next === undefined) return;
  const why = `this and the ${entries.length - ENTRIES_MOST - 1} after it are beyond the first ${ENTRIES_MOST}`;
  yield { directive, source: next, verdict: { ok: false, why } };
}
