/** What is started. No shell ever reads any of it. */
export type Command = {
  file: string;
  args: string[];
  isPython: boolean;
  /** Whether it is a program of this machine itself, and not one that something else reads. */
  isNative: boolean;
  /** Files and folders that it cannot do without, beside the system's. */
  needs: readonly string[];
  /** Where programs are looked for first; null has nothing of its own. */
  path: string | null;
};
