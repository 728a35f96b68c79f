import type { Application } from './application.ts';
import type { Limits } from './limits.ts';
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
};

/** A request with everything that a runtime needs to run it. */
export type Invocation = {
  id: string;
  tenant: string;
  plugin: Plugin;
  entry: Entry;
  /** The caller's arguments over the entry's defaults. */
  args: Record<string, unknown>;
  limits: Limits;
  connection: ServerConnection;
  application: Application;
  /** `performance.now()` at which the wall clock ends, so that every part counts from the same start. */
  deadlineAt: number;
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
