import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Caller } from './callers.ts';

/** Connections of one invocation, of all that are nobody's that we know of, and in all. */
const EACH_MOST = 64;
const UNKNOWN_MOST = 512;
const ALL_MOST = 4_096;

/** Keeps one program from having all connections: what is too much is ended before anything is read of it. */
export function boundConnections(servers: readonly Server[], whose: (socket: Socket) => Promise<Caller>): void {
  const open = new Map<Caller, number>();
  for (const server of servers) {
    server.maxConnections = ALL_MOST;
    server.on('connection', (socket: Socket) => {
      void whose(socket).then((session) => {
        if (socket.destroyed) return;
        const count = (open.get(session) ?? 0) + 1;
        if (count > (typeof session !== 'object' ? UNKNOWN_MOST : EACH_MOST)) {
          socket.destroy();
          return;
        }
        open.set(session, count);
        socket.once('close', () => {
          const left = (open.get(session) ?? 0) - 1;
          if (left > 0) open.set(session, left);
          else open.delete(session);
        });
      });
    });
  }
}
