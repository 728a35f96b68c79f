import type { Static } from 'typebox';
import type { PluginError } from '../core/failure.ts';
import { isNothing } from '../core/grant.ts';
import type { Entry, Plugin } from '../core/plugin.ts';
import type { Portrait } from '../core/portrait.ts';
import type { ResidentState } from '../core/resident.ts';
import { stripped } from '../core/text.ts';
import type { Residencies } from '../engine/residencies.ts';
import type { Tenancy } from '../engine/tenancy.ts';
import type { PluginSummary } from './schemas.ts';

type Summary = Static<typeof PluginSummary>;

/** A plugin as our own API shows it: where it may say more of itself than its manifest does, by what it says now. */
export function summaryOf(plugin: Plugin, tenancy: Tenancy, residencies: Pick<Residencies, 'state'>): Summary {
  const { id, dialect, program, settings } = plugin;
  const portrait = plugin.portrait === undefined ? null : tenancy.portrait(plugin);
  const entries = tenancy.entries(plugin);
  return {
    id,
    dialect,
    ...wordsOf(plugin, portrait),
    enabled: tenancy.isSwitchedOn(id),
    heldBack: tenancy.heldBack(id),
    program: program.runtime,
    resident: residentOf(residencies.state(tenancy, plugin)),
    portrait: portrait as Summary['portrait'],
    warnings: [...(plugin.warnings ?? [])],
    permissions: isNothing(tenancy.missing(plugin)) ? 'complete' : 'missing',
    tasks: tasksIn(entries),
    hooks: hooksIn(entries),
    settings,
  };
}

function wordsOf(plugin: Plugin, portrait: Portrait | null) {
  if (portrait === null) {
    const { name, description, url, version } = plugin;
    return { name, description, url, version };
  }
  const { name, description, helpUrl, version } = portrait;
  return { name, description: description || null, url: helpUrl || null, version: version || null };
}

function residentOf(state: ResidentState | undefined): Summary['resident'] {
  if (state === undefined) return null;
  const { since, startedAt, nextAt, failure, ...rest } = state;
  return {
    ...rest,
    since: since.toISOString(),
    startedAt: startedAt?.toISOString() ?? null,
    nextAt: nextAt?.toISOString() ?? null,
    failure: failure && {
      code: failure.code,
      message: failure.message,
      ...(failure.details.pluginError && { pluginError: shortly(failure.details.pluginError) }),
    },
  };
}

/** Where it was thrown is told in its log. */
function shortly({ name, message }: PluginError) {
  return { name: stripped(name, 200), message: stripped(message, 1_000) };
}

function tasksIn(entries: readonly Entry[]): Summary['tasks'] {
  return entries.flatMap((one) => {
    if (one.kind === 'task') return { name: one.name, description: one.description, defaultArgs: one.defaultArgs };
    if (one.kind === 'action') return { name: one.name, description: one.description || one.label, defaultArgs: {} };
    return [];
  });
}

function hooksIn(entries: readonly Entry[]): Summary['hooks'] {
  return entries.flatMap((one) => {
    if (one.kind !== 'hook' && one.kind !== 'action') return [];
    const { name, description, triggeredBy } = one;
    // Most buttons are pressed by people alone.
    return one.kind === 'action' && triggeredBy.length === 0
      ? []
      : { name, description, triggeredBy: [...triggeredBy] };
  });
}
