import { Failure, type PackageProblem } from '../core/failure.ts';
import { writtenOut } from '../core/text.ts';

/** Why an archive is refused, on its way out of the thread: as data, since no class survives the way. */
export type Rejection = {
  /** The entry to blame, fit to be shown; null for the archive as a whole. */
  entry: string | null;
  problem: string;
  kind: PackageProblem;
};

export class Rejected extends Error {
  override readonly name = 'Rejected';
  readonly entry: string | null;
  readonly kind: PackageProblem;

  constructor(entry: string | null, problem: string, kind: PackageProblem = 'zip') {
    super(problem);
    this.entry = entry;
    this.kind = kind;
  }

  toRejection(): Rejection {
    return { entry: this.entry, problem: this.message, kind: this.kind };
  }
}

export function packageRejected({ entry, problem, kind }: Rejection): Failure {
  if (entry === null) {
    return new Failure('package_rejected', `The archive is not taken: ${problem}`, { rejection: kind });
  }
  return new Failure('package_rejected', `The archive is not taken: ${entry} ${problem}`, {
    rejection: kind,
    where: [{ at: entry, problem }],
  });
}

/** A name out of an archive, which may be any bytes at all, for people to read. */
export function shown(name: Buffer | string): string {
  const text = typeof name === 'string' ? name : name.toString();
  return writtenOut(text.length <= NAME_LETTERS ? text : `${text.slice(0, NAME_LETTERS)}…`);
}

const NAME_LETTERS = 200;
