import { Failure } from './failure.ts';

/** One step of a chain: a plugin, and what it was called for: a trigger, or `OPERATION`. */
export type Link = { plugin: string; trigger: string };

/** The trigger of a link for a plugin that was called by another plugin and is waited for. */
export const OPERATION = 'operation';

/**
 * What led to what: the hooks and operations that stand one behind the other. It travels in the session of each
 * invocation and, sealed, in a header that the application passes on with the events that follow.
 */
export type Chain = {
  /** The invocation, or the event, that all of it began with. */
  root: string;
  /** Whose invocation did what comes next; null at the beginning. */
  by: { plugin: string; invocation: string } | null;
  links: readonly Link[];
};

/** How often the same plugin may stand in a chain for the same trigger. Contract: Stash `pkg/session/plugin.go`. */
export const SAME_LINK_MOST = 10;

/** Whether the plugin is passed over for that trigger: it stands there as often as it may. */
export function isExhausted({ links }: Chain, { plugin, trigger }: Link): boolean {
  let times = 0;
  for (const one of links) if (one.plugin === plugin && one.trigger === trigger) times += 1;
  return times >= SAME_LINK_MOST;
}

/** The chain with one link more. Throws `hook_loop`, naming it, where it would be longer than `most`. */
export function extended(chain: Chain, link: Link, most: number): Chain {
  if (chain.links.length >= most) throw tooLong(chain, link, most);
  return { ...chain, links: [...chain.links, link] };
}

/** For people, the newest last; long ones without their middle. */
export function chainText(links: readonly Link[]): string {
  const words = links.map(({ plugin, trigger }) => `${plugin} (${trigger})`);
  const shown =
    words.length <= 12 ? words : [...words.slice(0, 4), `… ${words.length - 10} more …`, ...words.slice(-6)];
  return shown.join(' → ');
}

function tooLong({ links }: Chain, link: Link, most: number): Failure {
  const limit = { name: 'hooks.depth', allowed: most, observed: links.length + 1, unit: 'count' } as const;
  return new Failure('hook_loop', `Plugins have set each other off too often: ${chainText([...links, link])}`, {
    limit,
  });
}

/** Chains as texts that whoever passes them on can neither read anything into nor change. */
export interface Chains {
  seal(tenant: string, chain: Chain): string;
  /** Null for what was not sealed here for that tenant, or on a node of another database. */
  open(tenant: string, text: string): Chain | null;
  /** What has probably led to an event that came without one; null where nothing of the kind is under way. */
  presumed(tenant: string): Chain | null;
}
