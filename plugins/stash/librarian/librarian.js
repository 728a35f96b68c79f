// An embedded plugin that calls the application it serves. `gql.Do` is synchronous and throws when the answer is an error.
function main() {
  const { hookContext, query, variables } = input.Args;
  if (hookContext) return noted(hookContext);
  const text = query || 'query Version { version { version } }';
  log.Debug('asking: ' + text);
  const data = gql.Do(text, variables);
  log.Progress(1);
  return { Output: data };
}

// As a hook: the application tells what has happened in it.
function noted({ id, inputFields }) {
  log.Info('scene ' + id + ' has changed: ' + inputFields.join(', '));
  return { Output: { scene: id, changed: inputFields } };
}

main();
