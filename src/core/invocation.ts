import type { Application } from './application.ts';
import type { Limits } from './limits.ts';
import type { Watch } from './outcome.ts';
import type { Entry, Plugin } from './plugin.ts';

/** What a caller asks for. */
export type Request = {
  tenant: string;
  plugin: string;
  /** The task to run, as the manifest names it; without it the request is an operation. */
  task?: string;
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
  /** Who may share an executor with it: the name of its tenant's trust group, or of its tenant alone. */
  trust: string;
  plugin: Plugin;
  entry: Entry;
  /** The caller's arguments over the entry's defaults. */
  args: Record<string, unknown>;
  limits: Limits;
  /** What its plugin may use in general; the same object as `limits` where the caller has lowered none. */
  usualLimits: Limits;
  /** What the plugin shows the application as its session cookie. */
  session: string;
  /** Where a Stash plugin finds its application; made on demand, as it is large. */
  readonly connection: ServerConnection;
  application: Application;
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

/** Where plugins of a tenant find their application, and the folder that stands for the host's own. */
export type Endpoint = { scheme: 'http' | 'https'; host: string; port: number; dir: string };

/** The `server_connection` of one invocation. All cookie fields are there, as Go encodes an otherwise empty one. */
export function serverConnection(endpoint: Endpoint, session: string, pluginDir: string): ServerConnection {
  return {
    Scheme: endpoint.scheme,
    Host: endpoint.host,
    Port: endpoint.port,
    SessionCookie: {
      Name: 'session',
      Value: session,
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
