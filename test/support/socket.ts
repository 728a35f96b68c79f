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

/** A request whose body comes in two parts: `begun` resolves when the first is sent, `finish` sends the rest. */
export async function slowly(
  url: string,
  {
    method,
    path,
    token,
    body,
    type = 'application/json',
  }: { method: string; path: string; token: string; body: string; type?: string },
): Promise<{ finish(): Promise<string> }> {
  const { port, hostname } = new URL(url);
  const socket = connect(Number(port), hostname).setEncoding('utf8');
  const ended = Promise.withResolvers<string>();
  let text = '';
  socket.on('data', (more) => {
    text += more;
  });
  socket.on('close', () => ended.resolve(text)).on('error', ended.reject);
  const head = [
    `${method} ${path} HTTP/1.1`,
    'Host: localhost',
    'Connection: close',
    'Expect: 100-continue',
    `Content-Type: ${type}`,
    `Authorization: Bearer ${token}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  socket.write(`${head.join('\r\n')}\r\n\r\n${body.slice(0, 5)}`);
  // The service has seen the head when it asks for the body.
  await new Promise<void>((resolve) => socket.once('data', () => resolve()));
  return {
    finish: () => {
      socket.write(body.slice(5));
      return ended.promise.then((all) => all.replace(/^HTTP\/1.1 100 Continue\r\n\r\n/, ''));
    },
  };
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
