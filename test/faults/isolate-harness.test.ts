// Our own functions are on the stack when a plugin's getter runs. V8 hides functions of strict code from call sites;
// sloppy ones it would hand over, and with them the way into the harness.
import { expect, test } from 'vitest';
import { startTestService } from '../support/service.ts';

test('no call site gives a plugin a function of the harness', async () => {
  const script = `
    Error.prepareStackTrace = (_error, sites) => sites.map((site) => typeof site.getFunction() + ' ' + typeof site.getThis());
    // Sloppy code on top: below a strict function V8 hides everything anyway.
    const sloppy = new Function('return new Error("x").stack.slice(1)');
    const look = { toJSON: new Function('sloppy', 'return function () { this.seen = sloppy(); return 1; }')(sloppy) };
    log.Info(look);
    const answer = { seen: look.seen };
    Object.defineProperty(answer, 'Output', { get: new Function('sloppy', 'return function () { return { logging: this.seen, finishing: sloppy().slice(1) }; }')(sloppy) });
    answer;
  `;
  const manifest = 'name: Peeper\ninterface: js\nexec: [peeper.js]\n';
  await using service = await startTestService({
    plugins: { peeper: { 'peeper.yml': manifest, 'peeper.js': script } },
  });
  const answer = await fetch(`${service.url}/v1/plugins/peeper/invocations`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
  });
  const { output } = (await answer.json()) as { output: { logging: string[]; finishing: string[] } };
  expect(output.logging.length).toBeGreaterThan(1);
  expect(output.finishing.length).toBeGreaterThan(1);
  // The first site is the plugin's own function; all others are below it.
  const own = output.logging.shift();
  expect(own).toContain('function');
  for (const site of [...output.logging, ...output.finishing]) {
    expect(['undefined undefined', 'undefined object']).toContain(site);
  }
});
