import { writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { HANDLER } from '../support/isopod.ts';
import { installPeers } from '../support/peers.ts';
import type { RateQuestion } from '../support/question.ts';
import { served } from '../support/served.ts';

const worker = `export default {
  async fetch(request) {
    if (request.method !== 'POST') return new Response('ready');
    const input = { Args: (await request.json()).args };
    const { Output: output } = ${HANDLER};
    return Response.json({ output });
  },
};`;

export const workerd: RateQuestion = {
  kind: 'rate',
  name: 'workerd',
  title: 'workerd, the same handler',
  unit: 'req/s',
  async open({ folder }) {
    await installPeers();
    // The package's own command is a script around the program itself.
    const { default: program } = createRequire(import.meta.url)('workerd') as { default: string };
    return await served(async (port) => {
      const file = join(folder, 'workerd.capnp');
      await writeFile(join(folder, 'worker.js'), worker);
      await writeFile(file, config(port));
      return { command: program, args: ['serve', file] };
    });
  },
};

function config(port: number): string {
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker)],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2025-01-01",
);
`;
}
