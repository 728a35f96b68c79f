import { registerHooks } from 'node:module';
import { dirname, join, resolve as resolvePath, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Says of what the plugin's application has and this host has not that it is that, and no mistake in the plugin. */
export function explainMissing(root) {
  registerHooks({
    resolve(specifier, context, next) {
      try {
        return next(specifier, context);
      } catch (error) {
        const words = isNotFound(error) ? whyNot(specifier, context.parentURL, root) : null;
        if (words !== null) add(words, error);
        throw error;
      }
    },
  });
}

function isNotFound(error) {
  return error?.code === 'ERR_MODULE_NOT_FOUND' || error?.code === 'MODULE_NOT_FOUND';
}

function whyNot(specifier, parent, root) {
  if (/^(?:@[\w.-]+\/)?[\w][\w.-]*/.test(specifier) && !/^(?:node|file|data|https?):/.test(specifier)) {
    const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
    return `this host does not have the package ${JSON.stringify(name)}; a plugin that needs it brings it along in a node_modules of its own`;
  }
  if (!/^\.\.?\//.test(specifier) || !parent?.startsWith('file:')) return null;
  const wanted = resolvePath(dirname(fileURLToPath(parent)), specifier);
  if (!wanted.startsWith(join(root, 'src') + sep)) return null;
  return 'this host is not SillyTavern, and stands in for a few files of its src folder alone';
}

function add(words, error) {
  const before = error.message;
  const whole = `${before} (${words})`;
  const { stack } = error;
  error.message = whole;
  if (typeof stack === 'string') error.stack = stack.replace(before, () => whole);
}
