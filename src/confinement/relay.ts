import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Relay } from './launcher.ts';
import type { Machine } from './machine.ts';
import { type Bind, outsideOfSystem, SOCKET_INSIDE } from './room.ts';

/** What leads from a port inside of a room to the socket of its gateway, and what of ours that needs in there. */
export function relayAt(port: number, { socat }: Pick<Machine, 'socat'>): { relay: Relay; binds: Bind[] } {
  if (socat !== null) {
    // One that takes both kinds of connections, where the system has both.
    const listen = existsSync('/proc/sys/net/ipv6')
      ? `TCP6-LISTEN:${port},ipv6only=0,fork,reuseaddr,backlog=128`
      : `TCP4-LISTEN:${port},bind=127.0.0.1,fork,reuseaddr,backlog=128`;
    return { relay: [socat, listen, `UNIX-CONNECT:${SOCKET_INSIDE}`], binds: outsideOfSystem(socat) };
  }
  const node = process.execPath;
  return { relay: [node, SCRIPT, String(port)], binds: [...outsideOfSystem(node), { path: SCRIPT, mode: 'ro' }] };
}

const SCRIPT = fileURLToPath(new URL('./guest/relay.mjs', import.meta.url));
