/** Server-sent events as a client reads them. */
export type SeenEvent = { id: string; event: string; data: unknown };

/** Those of a stream until it ends, or until `enough` says so. */
export async function eventsOf(
  url: string,
  {
    headers = {},
    enough = () => false,
    opened = () => {},
  }: {
    headers?: Record<string, string>;
    enough?(seen: SeenEvent[]): boolean;
    /** Told when the stream has begun. */
    opened?(): void;
  } = {},
): Promise<SeenEvent[]> {
  const controller = new AbortController();
  const response = await fetch(url, {
    headers: { accept: 'text/event-stream', ...headers },
    signal: controller.signal,
  });
  opened();
  const seen: SeenEvent[] = [];
  let rest = '';
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const blocks = (rest + chunk).split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const fields = new Map(
        block
          .split('\n')
          .filter((line) => !line.startsWith(':'))
          .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
      );
      if (!fields.has('event')) continue;
      seen.push({
        id: fields.get('id') ?? '',
        event: fields.get('event') ?? '',
        data: JSON.parse(fields.get('data') ?? 'null'),
      });
    }
    if (enough(seen)) {
      controller.abort();
      break;
    }
  }
  return seen;
}
