import { setTimeout as sleep } from 'node:timers/promises';
import type { Door } from '../../src/confinement/door.ts';
import type { Sandbox } from '../../src/confinement/sandbox.ts';

/**
 * What was seen of a program, which decides whether it may be started before anybody calls: it must read its input
 * before it does anything that could be noticed. `unsure` has to be watched once more.
 */
export type Habit = 'unsure' | 'reads first' | 'acts first';

/** Of one program, as it lies in its plugin's folder now. */
export class Habits {
  habit: Habit = 'unsure';
  /** Whether each answer so far was whole when it was there, and its program ended well after it. */
  answersOnce = true;
  /** What its files were like. */
  stamp: string | null = null;
  #looks = 0;

  /** What a run has shown. Whoever is seen to act first is not given many more chances: it might be the first time only. */
  seen(readsFirst: boolean): void {
    this.#looks += 1;
    if (readsFirst) this.habit = 'reads first';
    else if (this.#looks >= LOOKS_MOST) this.habit = 'acts first';
  }

  /** It was started ahead, and did not come to wait. */
  broken(): void {
    this.habit = 'acts first';
  }
}

/**
 * Waits until the program wants its input, and tells whether that was the first thing that it did. False also where it
 * rests in some other way for a while, since it might be waiting for just that.
 */
export async function comesToRead({ sandbox, door }: Looked, mostMs: number): Promise<boolean> {
  const until = performance.now() + mostMs;
  let hasEnded = false;
  void sandbox.ended.then(() => {
    hasEnded = true;
  });
  for (let rests = 0; rests < RESTS_MOST && !hasEnded && performance.now() < until; ) {
    const { state, isUnnoticed } = sandbox.posture;
    if (!isUnnoticed && state !== 'gone') return false;
    if (state === 'reading') return (door?.knocks ?? 0) === 0;
    rests = state === 'resting' ? rests + 1 : 0;
    await sleep(LOOK_EVERY_MS);
  }
  return false;
}

/** Whether it still waits, and has done nothing else. */
export function stillReads({ sandbox, door }: Looked): boolean {
  const { state, isUnnoticed } = sandbox.posture;
  return state === 'reading' && isUnnoticed && (door?.knocks ?? 0) === 0;
}

type Looked = { sandbox: Pick<Sandbox, 'posture' | 'ended'>; door: Pick<Door, 'knocks'> | null };

const LOOKS_MOST = 3;
const LOOK_EVERY_MS = 2;
const RESTS_MOST = 10;
