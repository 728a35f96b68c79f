import type { Chain } from './chain.ts';
import type { Grant } from './grant.ts';
import type { HookName } from './hook.ts';
import type { Limits } from './limits.ts';
import type { Watch } from './outcome.ts';
import type { Entry, Plugin } from './plugin.ts';
import type { Residency } from './resident.ts';
import type { Session } from './session.ts';

/** What a caller asks for. */
export type Request = {
  tenant: string;
  plugin: string;
  /** The task to run, as the manifest names it; without it the request is an operation. */
  task?: string;
  /** The hook to run, with the event as `args.hookContext`. */
  hook?: HookName;
  /** The plugin itself has asked for it, as a job: it may be a task of its own. */
  own?: true;
  /** What led to it, where that was not somebody from outside. Of a hook, its own link included. */
  chain?: Chain;
  args: Record<string, unknown>;
  /** Lower limits for this one call. */
  limits?: Partial<Limits>;
  /** The caller's W3C trace context, so that its traces and our log find each other. */
  traceparent?: string;
  /** The id of the job that this is a run of: then it waits for a place for as long as it takes. */
  job?: string;
  watch?: Watch;
};

/** A request with everything that a runtime needs to run it. */
export type Invocation = {
  id: string;
  tenant: string;
  /**
   * 0, or more than that of the run which waits for this one. Who waits has a place and does nothing with it, so each
   * depth has as many places as there are: else runs that wait for each other's hooks would have them all.
   */
  depth: number;
  /** Who may share an executor with it: the name of its tenant's trust group, or of its tenant alone. */
  trust: string;
  plugin: Plugin;
  entry: Entry;
  /** The caller's arguments over the entry's defaults. */
  args: Record<string, unknown>;
  limits: Limits;
  /** What its plugin may use in general; the same object as `limits` where the caller has lowered none. */
  usualLimits: Limits;
  /** What its plugin was granted; the same object as long as nothing has changed. */
  grant: Grant;
  /** Where the plugin is told to find its application. */
  endpoint: Endpoint;
  /** Its way there; opened when it is asked for. */
  readonly session: Session;
  /** Where its program lives, of a plugin whose program stays; made when it is asked for. */
  readonly residency?: Residency;
  /** `performance.now()` at which the wall clock ends, so that every part counts from the same start. */
  deadlineAt: number;
  /** Told of logs and progress as they come, where somebody wants to know before the end. */
  watch: Watch | undefined;
};

/**
 * How a Stash plugin reaches its application: the `server_connection` of its input, in the host's own field
 * names. Contract: Stash `pkg/plugin/common/msg.go`.
 */
export type ServerConnection = {
  Scheme: string;
  Host: string;
  Port: number;
  SessionCookie: {
    Name: string;
    Value: string;
    Path: string;
    Domain: string;
    Expires: string;
    RawExpires: string;
    MaxAge: number;
    Secure: boolean;
    HttpOnly: boolean;
    SameSite: number;
    Raw: string;
    Unparsed: null;
  };
  Dir: string;
  PluginDir: string;
};

/** Where plugins are told to find their application, and the folder that stands for the host's own. */
export type Endpoint = { scheme: 'http' | 'https'; host: string; port: number; dir: string };

/**
 * The `server_connection` of one invocation. All cookie fields are there, as Go encodes an otherwise empty one. `cookie`
 * is a session's for whoever can show it; embedded code cannot, and is told nothing that would open anything.
 */
export function serverConnection(endpoint: Endpoint, cookie: string, pluginDir: string): ServerConnection {
  return {
    Scheme: endpoint.scheme,
    Host: endpoint.host,
    Port: endpoint.port,
    SessionCookie: {
      Name: 'session',
      Value: cookie,
      Path: '',
      Domain: '',
      Expires: '0001-01-01T00:00:00Z',
      RawExpires: '',
      MaxAge: 0,
      Secure: false,
      HttpOnly: false,
      SameSite: 0,
      Raw: '',
      Unparsed: null,
    },
    Dir: endpoint.dir,
    PluginDir: pluginDir,
  };
}
