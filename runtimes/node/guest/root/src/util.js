/** Of SillyTavern's many helpers, those that plugins use. */
export const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const uuidv4 = () => crypto.randomUUID();
