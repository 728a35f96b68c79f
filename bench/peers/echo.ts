/** Bare Fastify: what there is to lose. Answers a POST with what was posted. */
import fastify from 'fastify';

const app = fastify();
app.get('/', () => 'ready');
app.post('/', async ({ body }) => {
  const { args } = body as { args: { name: string } };
  return { output: { name: args.name, total: 15 }, args };
});
await app.listen({ host: '127.0.0.1', port: Number(process.argv[2]) });
