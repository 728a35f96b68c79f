/**
 * What holds a program back on this machine, layer by layer, as it was proven by trying. The words of a report are for
 * people; what is decided by is the grade alone.
 */

/** From least to most. What each promises is in docs/SECURITY.md. */
export const GRADES = ['none', 'limited', 'fenced', 'contained', 'full'] as const;
export type Grade = (typeof GRADES)[number];

/** Grades as numbers that can be compared. */
export function rankOf(grade: Grade): number {
  return GRADES.indexOf(grade);
}

/** Whether a grade is as much as the one that is wanted, or more. */
export function reaches(grade: Grade, wanted: Grade): boolean {
  return rankOf(grade) >= rankOf(wanted);
}

export type LayerState =
  /** It was tried just now, and held. */
  | 'proven'
  /** It was tried, and does not hold; or it could not be tried. */
  | 'absent'
  /** Nothing that runs so could need it. */
  | 'not needed';

export type Layer = {
  /** For programs; it stays as it is. */
  id: string;
  name: string;
  /** The lowest grade that cannot do without it; null where all can. */
  neededFrom: Grade | null;
  state: LayerState;
  /** What was tried and what came of it. */
  evidence: string;
};

/** Of one way to run programs. */
export type Isolation = {
  /** How it is confined, e.g. `bubblewrap`. */
  tier: string;
  grade: Grade;
  layers: readonly Layer[];
  /** What would raise the grade, as a sentence for the operator; null where nothing would. */
  raise: string | null;
  checkedAt: Date;
};

/** The first of the layers that keep it from the next grade; undefined where it has the highest, or nothing was tried. */
function gapOf({ grade, layers }: Isolation): Layer | undefined {
  const next = GRADES[rankOf(grade) + 1];
  return layers.find(({ state, neededFrom }) => state === 'absent' && neededFrom === next);
}

/** Why its grade is no higher, and what would raise it, for the operator; null where it is the highest. */
export function shortfallOf(isolation: Isolation): string | null {
  const gap = gapOf(isolation);
  const why = gap === undefined ? [] : [`${gap.name}: ${gap.evidence}`];
  const words = [...why, ...(isolation.raise === null ? [] : [isolation.raise])];
  return words.length === 0 ? null : words.join('. ');
}

/** What is not known yet counts as nothing. */
export function unchecked(now: Date): Isolation {
  return { tier: 'unknown', grade: 'none', layers: [], raise: null, checkedAt: now };
}
