/** What became of an event, as an answer. What plugins answered is JSON text already. */
import type { Chain } from '../core/chain.ts';
import { type HookEvent, STASH_TRIGGERS } from '../core/hook.ts';
import type { Job } from '../core/job.ts';
import type { Dispatched, HookRun, Plan } from '../engine/dispatcher.ts';
import { problem } from './errors.ts';

export function dispatchedText({ event, chain, hooks, omitted }: Dispatched): string {
  const known = `"event":${eventText(event, chain)},"hooks":[${hooks.map(runText).join(',')}],"omitted":${omitted}`;
  return `{${known}${noteText(event, hooks.length)}}`;
}

/** A type that is misspelt looks like one that nobody wants to hear of. */
function noteText({ type }: HookEvent, hooks: number): string {
  if (hooks > 0) return '';
  const isKnown = STASH_TRIGGERS.includes(type);
  const words = `No hook of an enabled plugin has it among what it is triggered by${isKnown ? '' : '; and Stash has no such trigger'}`;
  return `,"note":${JSON.stringify(words)}`;
}

/** `locate` tells where a job is found. The jobs are those of the steps that are not skipped, in their order. */
export function queuedText(
  { event, chain, steps, omitted }: Plan,
  jobs: readonly Job[],
  locate: (job: Job) => string,
): string {
  let next = 0;
  const hooks = steps.map((step) => {
    const known = { plugin: step.plugin, hook: step.hook.name };
    if ('skipped' in step) return { ...known, status: 'skipped', reason: step.skipped };
    const job = jobs[next++] as Job;
    return { ...known, status: 'queued', job: job.id, location: locate(job), state: job.state };
  });
  const known = `"event":${eventText(event, chain)},"hooks":${JSON.stringify(hooks)},"omitted":${omitted}`;
  return `{${known}${noteText(event, hooks.length)}}`;
}

export function heldText(
  event: Omit<HookEvent, 'input' | 'inputFields'>,
  chain: Chain,
  held: { until: Date | null; why: string },
): string {
  return `{"event":${eventText(event, chain)},"held":${JSON.stringify(held)}}`;
}

function eventText({ id, type, object }: Omit<HookEvent, 'input' | 'inputFields'>, { root, by, links }: Chain): string {
  return JSON.stringify({ id, type, object, cause: by, root, chain: links });
}

function runText(run: HookRun): string {
  const { plugin, hook, status } = run;
  if (run.status === 'skipped') return JSON.stringify({ plugin, hook, status, reason: run.reason });
  const { invocation } = run;
  const known = { plugin, hook, status, invocation, ms: Math.round(run.ms * 1_000) / 1_000 };
  if (run.status === 'failed') {
    const { text } = problem(run.failure, { invocation, plugin: { id: plugin, version: run.version } });
    return withMember(known, 'problem', text);
  }
  return run.output === null
    ? JSON.stringify({ ...known, outputOmitted: true })
    : withMember(known, 'output', run.output);
}

function withMember(known: object, name: string, text: string): string {
  return `${JSON.stringify(known).slice(0, -1)},"${name}":${text}}`;
}
