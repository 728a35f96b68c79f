/** https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/, where names are of our own choice. */
export function rateLimit(name: string, { allowed, left, resetMs }: Allowance): Record<string, string> {
  const seconds = Math.max(1, Math.ceil(resetMs / 1_000));
  return { 'ratelimit-policy': `"${name}";q=${allowed}`, ratelimit: `"${name}";r=${left};t=${seconds}` };
}

type Allowance = { allowed: number; left: number; resetMs: number };
