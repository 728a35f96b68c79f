/**
 * What a plugin says of itself to people: its name, the form for its settings, the buttons for its actions. It says so in
 * a manifest, and once more, and then for good, when its code is there. Contract: Dispatcharr `apps/plugins/serializers.py`
 * and `loader.py`.
 */
import type { Entry } from './plugin.ts';
import type { Served } from './serving.ts';

export type Portrait = {
  name: string;
  version: string;
  description: string;
  author: string;
  helpUrl: string;
  fields: readonly FormField[];
  actions: readonly Action[];
  /** Where its program answers requests, which only its code can tell. */
  serves?: Served;
};

export const FIELD_TYPES = ['string', 'number', 'boolean', 'select', 'text', 'info'] as const;

/** One field of the form, in the words of its host. Keys that are absent were not said. */
export type FormField = {
  id: string;
  type: (typeof FIELD_TYPES)[number];
  label?: string;
  help_text?: string;
  description?: string;
  placeholder?: string;
  input_type?: string;
  value?: string;
  default?: unknown;
  min?: number;
  max?: number;
  step?: number;
  options?: readonly { value: string; label: string }[];
};

/** One button. `events` are those at which it is run by itself. */
export type Action = {
  id: string;
  label: string;
  description?: string;
  confirm?: unknown;
  button_label?: string;
  button_variant?: string;
  button_color?: string;
  events?: readonly string[];
};

/** Whether what is entered there is not for everybody to see. */
export function isSecret({ input_type: type }: FormField): boolean {
  return type === 'password';
}

/** What is stored, over the defaults of all fields that have one. */
export function withDefaults(
  fields: readonly FormField[],
  stored: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const all = fields.flatMap((field) => ('default' in field ? [[field.id, field.default] as const] : []));
  return { ...Object.fromEntries(all), ...stored };
}

/** The same as what can be asked of a plugin. */
export function entriesOf({ actions }: Pick<Portrait, 'actions'>): Extract<Entry, { kind: 'action' }>[] {
  return actions.map(({ id, label, description = '', events = [] }) => ({
    kind: 'action',
    name: id,
    label,
    description,
    triggeredBy: events,
  }));
}

/**
 * What counts of what a plugin says of itself in two places: what its code has told, and where that is empty, what its
 * manifest does. A name that is only the key counts as none.
 */
export function portraitOf(
  key: string,
  { manifest, told }: { manifest: Portrait | null; told: Portrait | null },
): Portrait {
  const one = (name: 'version' | 'description' | 'author' | 'helpUrl') => told?.[name] || manifest?.[name] || '';
  const named = told?.name === key ? '' : told?.name;
  return {
    name: named || manifest?.name || key,
    version: one('version'),
    description: one('description'),
    author: one('author'),
    helpUrl: one('helpUrl'),
    fields: told !== null && told.fields.length > 0 ? told.fields : (manifest?.fields ?? []),
    actions: told !== null && told.actions.length > 0 ? told.actions : (manifest?.actions ?? []),
    ...(told?.serves === undefined ? {} : { serves: told.serves }),
  };
}
