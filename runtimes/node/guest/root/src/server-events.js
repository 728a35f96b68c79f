/** What `process.serverEvents` is, for those who import it. */
export const { serverEvents } = process;
export const EVENT_NAMES = Object.freeze({ SERVER_STARTED: 'server-started' });
export default serverEvents;
