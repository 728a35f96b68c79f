import { Failure } from '../../src/core/failure.ts';
import type { Portrait } from '../../src/core/portrait.ts';
import type { Residency } from '../../src/core/resident.ts';
import type { ToGuest } from './frames.ts';
import type { FrameOf } from './heard.ts';

/** What a resident is answered that asks for something. Never rejects: what goes wrong is told to it in words. */
export async function answered(
  ask: FrameOf<'ask'>,
  { plugin, desk }: Residency,
  { invocation, portrait }: { invocation: string | null; portrait: Portrait },
): Promise<Extract<ToGuest, { t: 'answer' }>> {
  const { id } = ask;
  try {
    switch (ask.what) {
      case 'config': {
        const { name, version, description } = portrait;
        const settings = desk.settings();
        const row = { key: plugin.id, name, version, description, enabled: true, everEnabled: true, settings };
        return { t: 'answer', id, ok: row };
      }
      case 'configure':
        await desk.configure(ask.settings ?? {});
        return { t: 'answer', id, ok: null };
      case 'enqueue': {
        const { task = '', args = [], kwargs = {}, delayMs = 0 } = ask;
        const wish = { task, args: { args, kwargs }, delayMs: Math.max(0, delayMs), invocation };
        return { t: 'answer', id, ok: await desk.enqueue(wish) };
      }
    }
  } catch (error) {
    return { t: 'answer', id, error: Failure.from(error).message };
  }
}
