/** Answers that only say that one is to come (1xx) before it has to: more than anybody has to say. */
export const INTERIM_MOST = 10;
