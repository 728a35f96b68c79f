import type { Limits } from './limits.ts';
import type { Plugin } from './plugin.ts';

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
export function hookContextOf({ type, object, input, inputFields }: HookEvent): Record<string, unknown> {
  return {
    ...(object === null || object === 0 ? {} : { id: object }),
    type,
    input,
    ...(inputFields.length === 0 ? {} : { inputFields }),
  };
}

/** The hooks of a plugin that an event sets off, in the order of its manifest; one that lists it twice is there twice. */
export function hooksFor({ entries }: Plugin, type: string): HookName[] {
  const hooks = entries.filter((one) => one.kind === 'hook');
  return hooks.flatMap(({ name, triggeredBy }, at) =>
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
