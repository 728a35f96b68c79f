/** What the process ends with; `--help` says the same. */
export const EXIT = { ok: 0, plugin: 1, usage: 2, host: 3, interrupted: 130 } as const;
