import { jsonFrom } from './children.ts';
import type { Sample } from './question.ts';

export type Load = {
  port: number;
  /** Asked in turns. */
  paths: string[];
  body: string;
  /** At most, where there is a count. */
  seconds: number;
  /** How many are asked; without it, as many as the time allows. */
  count?: number;
  /** Of every right answer. */
  status: number;
  connections: number;
  /** Part of every right answer's body. */
  expect: string;
};

export type LoadResult = {
  perSecond: number;
  /** When the first was asked; in ms since 1970. */
  startedAt: number;
  done: number;
  bad: number;
  /** The first thing that was wrong. */
  example: string;
  p50Ms: number;
  p99Ms: number;
  /** Cores that the generator itself used. */
  cpuShare: number;
};

/** What all subjects are asked, and what they make of it. */
export const ARGS = { name: 'isopod', items: [1, 2, 3, 4, 5], deep: { flag: true, none: null } };
export const BODY = JSON.stringify({ args: ARGS });
export const EXPECT = '"output":{"name":"isopod","total":15}';

export async function load(what: Partial<Load> & Pick<Load, 'port' | 'paths' | 'seconds'>): Promise<LoadResult> {
  const full: Load = { body: BODY, expect: EXPECT, status: 200, connections: 32, ...what };
  return await jsonFrom<LoadResult>([], new URL('./generator.ts', import.meta.url), full);
}

/** As a sample, with what was wrong said. */
export function sampleOf({ perSecond, bad, done, example, p50Ms, p99Ms }: LoadResult): Sample {
  const times = `p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms`;
  if (bad === 0 && done > 0) return { value: perSecond, ok: true, note: times };
  return { value: perSecond, ok: false, note: `${bad} of ${done} answers WRONG, e.g. ${JSON.stringify(example)}` };
}
