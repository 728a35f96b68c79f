/** For the page that shows the user interface of plugins: which of them to load, in which order, under which policy. */
import { Type } from 'typebox';
import type { Plugin } from '../../../core/plugin.ts';
import type { Tenancy } from '../../../engine/tenancy.ts';
import type { App } from '../../app.ts';
import { OrNull, Problems } from '../../schemas.ts';
import { baseOf } from './base.ts';
import { policyOf } from './csp.ts';
import { loadOrder } from './load-order.ts';
import { pathsOf, rootOf } from './paths.ts';

const tags = ['user interface'];
const Text = Type.String();

const Refused = Type.Object({
  directive: Text,
  source: Type.String({ description: 'As its manifest has it' }),
  why: Text,
});

const PolicyAnswer = Type.Object(
  {
    policy: Type.String({ description: 'The value of the header Content-Security-Policy' }),
    directives: Type.Record(Type.String(), Type.Array(Text), { description: 'The same, in parts' }),
    refused: Type.Array(Type.Object({ plugin: Text, ...Refused.properties }), {
      description: 'What plugins ask for and do not get',
    }),
  },
  { description: 'The policy' },
);

const PageAnswer = Type.Object(
  {
    plugins: Type.Array(
      Type.Object({
        id: Text,
        name: Text,
        version: OrNull(Text),
        requires: Type.Array(Text),
        paths: Type.Object(
          { javascript: OrNull(Type.Array(Text)), css: OrNull(Type.Array(Text)) },
          { description: 'What to load, in this order; null for nothing' },
        ),
        assets: OrNull(Text, { description: 'Where its assets are, or null' }),
        refused: Type.Array(Refused, { description: 'What it asks of the Content-Security-Policy and does not get' }),
      }),
      { description: 'Those that have something to show and are enabled, each after those that it requires' },
    ),
    circles: Type.Array(Type.Array(Text), {
      description: 'Plugins that require each other in a circle, of which the first to be met is loaded last',
    }),
  },
  { description: 'What a page has to load' },
);

export function uiPage(app: App): void {
  app.get(
    '/v1/csp',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'contentSecurityPolicy',
        summary: 'The Content-Security-Policy that the enabled plugins need',
        tags,
        response: { 200: PolicyAnswer, ...Problems(401, 403, 404, 429, 503) },
      },
    },
    async ({ tenancy }) => policyOf(shownOf(tenancy)),
  );

  app.get(
    '/v1/ui',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'userInterface',
        summary: 'The plugins that have something to show, in the order in which to load them',
        tags,
        response: { 200: PageAnswer, ...Problems(401, 403, 404, 429, 503) },
      },
    },
    async (request) => {
      const shown = shownOf(request.tenancy);
      const { order, circles } = loadOrder(shown);
      const refused = Map.groupBy(policyOf(shown).refused, ({ plugin }) => plugin);
      const base = baseOf(request);
      return {
        plugins: order.map(({ id, name, version, ui }) => ({
          id,
          name,
          version,
          requires: ui?.requires ?? [],
          paths: pathsOf({ id, ui }, base),
          assets: Object.keys(ui?.assets ?? {}).length === 0 ? null : `${base}${rootOf(id)}/assets`,
          refused: refused.get(id) ?? [],
        })),
        circles,
      };
    },
  );
}

function shownOf(tenancy: Tenancy): Plugin[] {
  return [...tenancy.catalogue.plugins.values()].filter(({ id, ui }) => ui !== null && tenancy.isEnabled(id));
}
