/** Fastify, and a thread for each core with raw isolated-vm in it. */
import { availableParallelism } from 'node:os';
import fastify from 'fastify';
import { Piscina } from 'piscina';

const pool = new Piscina({
  filename: new URL('./piscina-thread.ts', import.meta.url).href,
  minThreads: availableParallelism(),
  maxThreads: availableParallelism(),
  workerData: process.argv[3],
});
const app = fastify();
app.get('/', () => 'ready');
app.post('/', async ({ body }, reply) => {
  const output = await pool.run(JSON.stringify((body as { args: unknown }).args));
  return reply.type('application/json').send(`{"output":${output}}`);
});
await app.listen({ host: '127.0.0.1', port: Number(process.argv[2]) });
