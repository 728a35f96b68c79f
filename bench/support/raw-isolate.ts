/** The least that isolated-vm can do for a fresh context: a context, the input, the script, the answer as text. */
import ivm from 'isolated-vm';

export class RawIsolate {
  readonly #isolate = new ivm.Isolate({ memoryLimit: 128 });
  readonly #script: ivm.Script;

  constructor(handler: string) {
    this.#script = this.#isolate.compileScriptSync(
      `const input = { Args: JSON.parse(args) };\nJSON.stringify(${handler.replace(/;\s*$/, '')});`,
    );
  }

  run(args: string): string {
    const context = this.#isolate.createContextSync();
    context.global.setSync('args', args);
    const output = this.#script.runSync(context) as string;
    context.release();
    return output;
  }
}
