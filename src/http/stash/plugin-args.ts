/** An argument in the old form, which says the type of each value. */
export type PluginArg = { key: string; value?: PluginValue | null };

type PluginValue = {
  str?: string | null;
  i?: number | null;
  b?: boolean | null;
  f?: number | null;
  o?: readonly PluginArg[] | null;
  a?: readonly PluginValue[] | null;
};

/** The same as a plain map. */
export function typedArgs(args: readonly PluginArg[]): Record<string, unknown> {
  return Object.fromEntries(args.map(({ key, value }) => [key, plain(value)]));
}

function plain(value: PluginValue | null | undefined): unknown {
  const { str, i, b, f, o, a } = value ?? {};
  const simple = str ?? i ?? b ?? f;
  if (simple !== undefined && simple !== null) return simple;
  if (o !== undefined && o !== null) return typedArgs(o);
  return a?.map(plain) ?? null;
}
