import type { Limits } from './limits.ts';
import { type Entry, isResident, type Plugin } from './plugin.ts';

/** Something that has happened in an application. */
export type HookEvent = {
  /** A UUID of ours. */
  id: string;
  /** The trigger, e.g. `Scene.Update.Post`. */
  type: string;
  /** Of the object that it happened to; null where it is about none. */
  object: number | null;
  /** What the application was asked to do, in its own form. */
  input: unknown;
  /** The names of what was sent in it, where only that was changed. */
  inputFields: readonly string[];
};

/** An event as its sender tells it, and what each of its hooks may use. */
export type EventWish = Omit<HookEvent, 'id'> & { limits?: Partial<Limits>; traceparent?: string };

/** A hook of a plugin, by its place among the plugin's hooks. The name is for people, and tells whether it is still the same. */
export type HookName = { at: number; name: string };

/** What a hook finds in `args.hookContext`. Contract: Stash `pkg/plugin/common/msg.go`: what is empty is not there. */
function hookContextOf({ type, object, input, inputFields }: HookEvent): Record<string, unknown> {
  return {
    ...(object === null || object === 0 ? {} : { id: object }),
    type,
    input,
    ...(inputFields.length === 0 ? {} : { inputFields }),
  };
}

/** What a hook of a plugin is run with. */
export function hookArgsOf(plugin: Pick<Plugin, 'program'>, event: HookEvent): Record<string, unknown> {
  if (!isResident(plugin)) return { hookContext: hookContextOf(event) };
  return { event: event.type, payload: payloadOf(event.input) };
}

/** What an action finds as `payload`. Contract: Dispatcharr `core/utils.py`: what Python takes for false is not there. */
function payloadOf(input: unknown): Record<string, unknown> {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) return {};
  return Object.fromEntries(Object.entries(input).filter(([, value]) => !isFalsy(value)));
}

/** What Python takes for false. */
export function isFalsy(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return !value;
  return Array.isArray(value) ? value.length === 0 : Object.keys(value).length === 0;
}

/** Entries that events can set off. */
export function hooksIn(entries: readonly Entry[]): readonly Hooked[] {
  return entries.filter((one) => one.kind === 'hook' || one.kind === 'action');
}

type Hooked = Extract<Entry, { kind: 'hook' | 'action' }>;

/** The hooks of a plugin that an event sets off, in the order of its manifest; one that lists it twice is there twice. */
export function hooksFor(entries: readonly Entry[], type: string): HookName[] {
  return hooksIn(entries).flatMap(({ name, triggeredBy }, at) =>
    triggeredBy.filter((one) => one === type).map(() => ({ at, name })),
  );
}

const CHANGES = ['Create', 'Update', 'Destroy'] as const;
const OBJECTS = [
  'SceneMarker',
  'Scene',
  'Image',
  'Gallery',
  'GalleryChapter',
  'Movie',
  'Group',
  'Performer',
  'Studio',
  'Tag',
] as const;

/** All that Stash fires. Manifests may name others, which then nobody fires. Contract: Stash `pkg/plugin/hook/hooks.go`. */
export const STASH_TRIGGERS: readonly string[] = [
  ...OBJECTS.flatMap((object) => CHANGES.map((change) => `${object}.${change}.Post`)),
  'Tag.Merge.Post',
];
