/**
 * What we and the host of a resident in Node say to each other: one JSON object a line, in UTF-8, both ways over a unix socket
 * of ours that the host connects to when it starts. What callers send to the plugin's routes does not come this way: that is
 * HTTP, over connections to the same socket that the host makes when it is told to. So nobody of us ever connects to
 * anything of a plugin's. docs/WIRE.md tells both to whoever writes a host. What comes from there is a plugin's, as it can
 * get at the socket, too: nothing of it is believed before it was looked at.
 */

/** What we say. */
export type ToGuest =
  /** Once, and first. It answers `ready` or `failed`. All paths are absolute, and as the program sees them. */
  | {
      t: 'boot';
      /** What its application's folder is to it; it becomes the working directory. */
      root: string;
      /** The module, or the folder that has it. */
      file: string;
      kind: 'file' | 'folder';
      /** The folder with one folder for each user. */
      dataRoot: string;
      /** Whose requests those are that name nobody. */
      user: GuestUser;
      /** The most that a body may have: JSON, a form, or a file that is sent with one. */
      bodyBytes: number;
      /** The folder `node_modules` with the packages that the host itself needs, and the plugin finds (`modules.ts`). */
      modules: string;
      /** Where its application would be reached, for those who ask. */
      url: string;
    }
  /** It connects once more, and serves requests over that. Only after `ready`. */
  | { t: 'dial' }
  /** It lets the plugin stop, and answers `stopped`. Nothing else comes after it. */
  | { t: 'stop'; reason: string }
  /** How busy it is beside its requests; answered by `look` of the same id. */
  | { t: 'look'; id: number };

/** What it says. */
export type FromGuest =
  /** The plugin is there, and requests are taken. */
  | { t: 'ready'; info: GuestInfo; routes: GuestRoute[]; hasExit: boolean; language: string }
  /** It could not be loaded; the process ends. */
  | { t: 'failed'; error: GuestError }
  /**
   * Something went wrong that the plugin has not dealt with. `handler`: a handler of a route threw it, or rejected with it.
   * `uncaught` and `rejection`: nobody waited for it. `request` is the one that it has cost, and null where the whole process
   * is lost: that ends then, with a code that is not 0.
   */
  | { t: 'fault'; kind: 'handler' | 'uncaught' | 'rejection'; error: GuestError; request: string | null }
  /** `handles` is what keeps the process awake beside pipes (timers, connections, threads). */
  | { t: 'look'; id: number; handles: number; children: number }
  /** `called` is whether there is an `exit` that was run for it. The process exits at once. */
  | { t: 'stopped'; called: boolean; error: GuestError | null };

export type GuestUser = {
  profile: { handle: string; name: string; admin: boolean };
  /** By their names in its application; `root` is the one that the others are in. */
  directories: Record<string, string>;
};

export type GuestInfo = { id: string; name: string; description: string };

/**
 * `method` is `*` for all of them, and `USE` for a middleware, which takes all that begins with its path. A path is as it was
 * registered, below the plugin's own; of a regular expression, its text.
 */
export type GuestRoute = { method: string; path: string };

/** `name` is its class, `stack` may be empty. */
export type GuestError = { name: string; message: string; stack: string };

/** Headers of requests and answers that are between us and the host. Callers neither send them nor get them. */
export const HEADERS = {
  /** Of a request, base64url of a GuestUser as JSON. */
  user: 'isopod-user',
  /** Of a request, its id: what `fault` says as `request`. */
  request: 'isopod-request',
  /** Of an answer that is the host's and not the plugin's: `unrouted` (404) or `fault` (500). */
  verdict: 'isopod-verdict',
} as const;
