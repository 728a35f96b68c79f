import { Isopod, script } from './isopod.ts';
import { load, sampleOf } from './load.ts';
import type { Options, Subject } from './question.ts';

/** isopod with one embedded plugin, warmed up until it is run in the way that is to be measured. */
export async function warmIsopod(
  options: Options,
  source: string,
  way: string,
  env: Record<string, string> = {},
): Promise<Subject> {
  const isopod = await Isopod.start(options, { bench: script(source) }, env);
  try {
    await isopod.warm('bench', way);
  } catch (error) {
    await isopod[Symbol.asyncDispose]();
    throw error;
  }
  return {
    async measure(seconds) {
      const sample = sampleOf(await load({ port: isopod.port, paths: [isopod.path('bench')], seconds }));
      // It must still be what we think it is.
      await isopod.warm('bench', way);
      return sample;
    },
    [Symbol.asyncDispose]: () => isopod[Symbol.asyncDispose](),
  };
}
