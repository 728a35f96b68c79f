/*
 * Lives in a context of its own, one for each isolate, where no plugin code runs. It starts the plugin's script in
 * the plugin's context and catches whatever that throws, so that it is described inside the isolate and inside the
 * time limit: isolated-vm itself would read the properties of a thrown object after its timer was taken down.
 *
 * `script` and `context` are handles of isolated-vm. They are arguments, not kept: a handle held here would keep its
 * context alive.
 */
'use strict';
(() => {
  const asReference = { __proto__: null, reference: true };
  const andRelease = { __proto__: null, release: true };
  return (script, context, prelude) => {
    let value;
    try {
      value = script.runSync(context, asReference).deref(andRelease);
    } catch (thrown) {
      return prelude('threw', thrown);
    }
    return prelude('finish', value);
  };
})();
