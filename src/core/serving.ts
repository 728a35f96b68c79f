/**
 * Programs that answer requests of their own: what they have registered, and how a request gets to one. The addresses
 * below which they do are known when their code has said what they are called. Contract: SillyTavern `src/plugin-loader.js`,
 * where the routes of a plugin are below `/api/plugins/<id>`.
 */
import type { Failure } from './failure.ts';
import type { Residency } from './resident.ts';

/** `method` is `*` for all of them and `USE` for a middleware; a path is as it was registered, below the plugin's own. */
export type Route = { method: string; path: string };

/** What a program answers: `id` is what it calls itself, by which it is found. */
export type Served = { id: string; routes: readonly Route[] };

/** Addresses below `/api/plugins` that are none of a plugin's, as they are those of another host. */
export const RESERVED_ADDRESSES: readonly string[] = ['plugins', 'repos', 'events'];

/** Why none answers, where its tenant lets none. */
export const SERVERS_OFF =
  'Server plugins are off for this tenant: the operator sets its "enableServerPlugins" to true (PATCH /v1/tenants/{tenant}), or ISOPOD_SILLYTAVERN_ENABLED for the default one';

export const ADDRESS = /^[a-z0-9_-]+$/;

/** On whose behalf a request comes. Contract: SillyTavern `req.user.profile`. */
export type Visitor = { handle: string; name: string; admin: boolean };

/** Who comes where nobody is named. Contract: SillyTavern `src/users.js`, where there is one user unless accounts are on. */
export const DEFAULT_VISITOR: Visitor = Object.freeze({ handle: 'default-user', name: 'User', admin: true });

/** One request, before it is handed on. */
export type Visiting = {
  /** What it is known by, in logs too. */
  id: string;
  visitor: Visitor;
};

/** Where programs are that answer requests. */
export interface Servers {
  /**
   * Lets a request in: its program is started if it is not there. What comes back is a place in it, until it is left.
   * Rejects with a Failure that says why there is none.
   */
  enter(residency: Residency, visiting: Visiting, signal: AbortSignal): Promise<Visit>;
}

/** A request in a program, which is left when it was answered or given up. */
export interface Visit extends Disposable {
  readonly upstream: Upstream;
  /** To be sent along with it, between us and the host of the program; whoever asks is not to have set any of them. */
  readonly headers: Readonly<Record<string, string>>;
  /** What its program has done wrong while it dealt with it, in whatever words; null where nothing is known. */
  readonly failure: Failure | null;
  /** Of its answer: what its host says of it that the caller is not told so, e.g. that no route was found. */
  verdictOf(headers: Readonly<Record<string, string | string[] | undefined>>): 'answered' | 'unrouted' | 'fault';
}

/** One running program, for as long as it runs. The same object for all who visit it. */
export interface Upstream {
  /** A new connection to it, a socket over which HTTP/1.1 is spoken. Rejects with a Failure. */
  dial(): Promise<NodeJS.ReadWriteStream>;
  /** Aborted with a Failure when it is gone. */
  readonly gone: AbortSignal;
}
