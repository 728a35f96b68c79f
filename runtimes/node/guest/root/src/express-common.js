/** Bodies are parsed before a plugin's routes: what used to do it lets all pass. */
export const jsonParser = (_req, _res, next) => next();
export const urlencodedParser = (_req, _res, next) => next();
