import { Failure } from '../../core/failure.ts';
import type { EventWish } from '../../core/hook.ts';
import { FIELDS_MOST, heldBecause } from '../../core/hook-policy.ts';
import { stripped } from '../../core/text.ts';
import type { HookRun } from '../../engine/dispatcher.ts';
import type { Asking, StashParts } from './asking.ts';

type Told = { type: string; id?: number | null; input?: unknown; inputFields?: readonly string[] | null };

const ERROR_CHARACTERS = 4_096;
const FIELD_MOST = 500;

/** Events, for applications that speak GraphQL. What `POST /v1/events` does is done here in the same way. */
export function hooks({ dispatcher }: Pick<StashParts, 'dispatcher'>) {
  return {
    async runHooks(told: Told, { caller, tenancy, events, signal }: Asking) {
      const { holder, chain = null } = caller;
      if (holder !== null)
        throw new Failure('forbidden', 'A plugin does not tell what has happened in the application');
      const plan = dispatcher.plan(tenancy, wishOf(told), chain);
      const held = heldBecause(tenancy.hookPolicy);
      if (held !== null) {
        dispatcher.refuseLoop(plan);
        dispatcher.refuseHeld(plan);
        const { id } = await events.hold({ id: plan.event.id, wish: plan.wish, chain }, tenancy.hookPolicy);
        return { id, hooks: [], omitted: 0, held };
      }
      const { event, hooks: runs, omitted } = await dispatcher.run(tenancy, plan, signal);
      return { id: event.id, hooks: runs.map(runView), omitted, held: null };
    },
  };
}

/** Throws `invalid_request` for what nobody could be told. */
function wishOf({ type, id = null, input = null, inputFields }: Told): EventWish {
  const fields = inputFields ?? [];
  const problem = !/^[^\p{Cc}\p{Cs}]{1,200}$/u.test(type)
    ? 'The type is no trigger, such as Scene.Update.Post'
    : id !== null && id < 0
      ? 'The id is less than 0'
      : fields.length > FIELDS_MOST || fields.some((one) => one.length > FIELD_MOST)
        ? `There are more than ${FIELDS_MOST} inputFields, or one is longer than ${FIELD_MOST}`
        : null;
  if (problem !== null) throw new Failure('invalid_request', problem);
  return { type, object: id, input, inputFields: fields };
}

function runView(run: HookRun) {
  const { plugin, hook } = run;
  switch (run.status) {
    case 'ran': {
      const output: unknown = run.output === null ? null : JSON.parse(run.output);
      return { plugin, hook, status: 'RAN', invocation: run.invocation, output };
    }
    case 'failed': {
      const { ownWords, message } = run.failure;
      const error = stripped(ownWords ?? message, ERROR_CHARACTERS);
      return { plugin, hook, status: 'FAILED', invocation: run.invocation, error };
    }
    case 'skipped':
      return { plugin, hook, status: 'SKIPPED', error: run.reason };
  }
}
