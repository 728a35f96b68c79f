// An embedded plugin that calls the application it serves. `gql.Do` is synchronous and throws when the answer is an error.
function main() {
  const query = input.Args.query || 'query Version { version { version } }';
  log.Debug('asking: ' + query);
  const data = gql.Do(query, input.Args.variables);
  log.Progress(1);
  return { Output: data };
}

main();
