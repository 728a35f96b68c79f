/** An application that is as quick as one can be: it reads what it is asked and answers GraphQL with always the same. */
import { createServer } from 'node:http';

const ANSWER = JSON.stringify({ data: { findScene: { id: '1', title: 'A scene' } } });

createServer((request, response) => {
  request.resume().on('end', () => {
    response.setHeader('content-type', 'application/json');
    response.end(ANSWER);
  });
}).listen(Number(process.argv[2]), '127.0.0.1');
