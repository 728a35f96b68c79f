/** What the host goes on using after the plugin has put something else in its place. */

export const { parse, stringify } = JSON;
export const soon = setImmediate;
export const after = setTimeout;
/** It is to keep nobody awake. */
export const forget = (timer) => timer.unref();
export const exit = process.exit.bind(process);
export const resources = process.getActiveResourcesInfo.bind(process);
