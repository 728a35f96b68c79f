/** What the reference shows of the host's API. Nothing is checked by them: see scope.ts. */
import { type Static, Type } from 'typebox';
import { FIELD_TYPES } from '../../core/portrait.ts';

const OrNull = <T extends Parameters<typeof Type.Union>[0][number]>(type: T) => Type.Union([type, Type.Null()]);

const Field = Type.Unsafe<object>({
  type: 'object',
  description: `One field of its form, as the plugin says it: id, type (${FIELD_TYPES.join(', ')}), label …`,
});
const Action = Type.Unsafe<object>({
  type: 'object',
  description: 'One of its buttons, as the plugin says it: id, label, confirm, button_label, events …',
});

export const PluginForm = Type.Object({
  key: Type.String(),
  name: Type.String(),
  version: Type.String(),
  description: Type.String(),
  author: Type.String(),
  help_url: Type.String(),
  enabled: Type.Boolean(),
  ever_enabled: Type.Boolean(),
  fields: Type.Array(Field),
  actions: Type.Array(Action),
  settings: Type.Record(Type.String(), Type.Unknown()),
  missing: Type.Boolean({ description: 'Its folder is gone' }),
  trusted: Type.Boolean({ description: 'It was enabled at least once' }),
  loaded: Type.Boolean({ description: 'Its program is up' }),
  legacy: Type.Boolean({ description: 'It has no plugin.json' }),
  logo_url: OrNull(Type.String()),
  source_repo: OrNull(Type.Integer()),
  source_repo_name: OrNull(Type.String()),
  is_official_repo: Type.Boolean(),
  slug: Type.String(),
  is_managed: Type.Boolean({ description: 'It came from a repository' }),
  installed_version_is_prerelease: Type.Boolean(),
  update_available: Type.Boolean(),
  latest_version: OrNull(Type.String()),
  deprecated: Type.Boolean(),
});
export type PluginForm = Static<typeof PluginForm>;

export const Success = <T extends Record<string, Parameters<typeof Type.Array>[0]>>(more: T) =>
  Type.Object({ success: Type.Literal(true), ...more });

const Refusal = Type.Object({ success: Type.Literal(false), error: Type.String() });
const Detail = Type.Object({ detail: Type.String() });

/** What goes wrong on the way is a `detail`; what goes wrong there, an `error`. */
export function Errors<S extends number>(...statuses: S[]) {
  const answer = { ...Type.Union([Detail, Refusal]), description: 'The header Isopod-Error-Code has our word for it' };
  return Object.fromEntries(statuses.map((status) => [status, answer]));
}

export const Key = Type.Object({ key: Type.String({ description: 'Key of the plugin' }) });

export const tags = ['dispatcharr'];
