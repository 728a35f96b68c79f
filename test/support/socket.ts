import { connect } from 'node:net';

/** Sends these bytes and gives back all that comes until the other side closes. */
export function raw(url: string, bytes: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const { port, hostname } = new URL(url);
  const socket = connect(Number(port), hostname);
  let text = '';
  socket
    .setEncoding('utf8')
    .on('data', (more) => {
      text += more;
    })
    .on('close', () => resolve(text))
    .on('error', (error) => (text === '' ? reject(error) : resolve(text)));
  socket.write(bytes);
  return promise;
}

/** The parts of one answer that came as bytes. */
export function parsed(text: string) {
  const [head = '', ...rest] = text.split('\r\n\r\n');
  const body = rest.join('\r\n\r\n');
  const headers = new Headers(
    head
      .split('\r\n')
      .slice(1)
      .map((line) => line.split(/: (.*)/s, 2) as [string, string]),
  );
  return { status: Number(head.split(' ')[1]), headers, body: JSON.parse(body) };
}
