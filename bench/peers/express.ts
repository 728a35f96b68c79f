/** Bare Express 4, which plugins of SillyTavern's server are written for: on a port, or on a unix socket of its parent's. */
import { createServer, type RequestListener } from 'node:http';
import { createRequire } from 'node:module';

type Answer = { json(body: unknown): void; sendStatus(status: number): void };
type Handler = (request: { body: { args: { name: string; items: number[] } } }, answer: Answer) => void;
type Application = RequestListener & {
  use(handler: unknown): void;
  get(path: string, handler: Handler): void;
  post(path: string, handler: Handler): void;
};

const require = createRequire(import.meta.url);
const express = require('express') as { (): Application; json(): unknown };

const app = express();
app.use(express.json());
app.get('/', (_request, answer) => answer.sendStatus(204));
app.post('/', ({ body: { args } }, answer) => {
  answer.json({ output: { name: args.name, total: args.items.reduce((sum, one) => sum + one, 0) } });
});

const [where = ''] = process.argv.slice(2);
const server = createServer(app);
if (where.startsWith('/')) server.listen(where, () => process.send?.('ready'));
else server.listen(Number(where), '127.0.0.1');
process.once('disconnect', () => process.exit());
