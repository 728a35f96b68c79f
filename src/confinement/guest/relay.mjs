// Stands in for socat inside of a room: leads from a port on the loopback to the socket of the gateway.
import { existsSync } from 'node:fs';
import { connect, createServer } from 'node:net';

const server = createServer({ allowHalfOpen: true }, (inside) => {
  const outside = connect({ path: '/run/isopod/gateway.sock', allowHalfOpen: true });
  for (const [from, to] of [
    [inside, outside],
    [outside, inside],
  ]) {
    from.pipe(to);
    from.on('error', () => to.destroy());
    from.on('close', () => to.destroy());
  }
});
// The network in here is the program's own, so that `::` is no more than its loopback. It takes both kinds.
server.listen({ port: Number(process.argv[2]), host: existsSync('/proc/sys/net/ipv6') ? '::' : '127.0.0.1' });
