/** Settings of a test, as they would stand in isopod.yaml. */
export type Overrides = { [key: string]: unknown };

/** `over` laid over `base`, map by map. */
export function merged(base: Overrides, over: Overrides): Overrides {
  const result = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = result[key];
    result[key] = isMap(value) && isMap(below) ? merged(below, value) : value;
  }
  return result;
}

function isMap(value: unknown): value is Overrides {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
