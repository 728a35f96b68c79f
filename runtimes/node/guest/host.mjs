/**
 * The host of one plugin that was written for SillyTavern's server: a program that stays, and answers requests.
 *
 * How it works
 * ------------
 * It is told what to do in frames (docs/WIRE.md) over a unix socket that it connects to, loads the plugin as its application
 * would (`loading.mjs`), and connects there once more each time that it is told to: over such a connection come requests
 * for the routes that the plugin has registered (`app.mjs`). It listens nowhere.
 * Standard output and error are the plugin's alone: the host writes nothing there.
 *
 * A plugin is not an enemy in here. What it may do to the machine is decided outside of this process, and what this process
 * says is not believed there. But it may be careless: it throws in timers, forgets to wait for promises, replaces what it
 * finds. What goes wrong costs the request that it was done for, where that can be known (`flights.mjs`) and there is
 * something left to answer; anything else ends the process, as nobody knows what is left of the plugin then. Hence what is
 * used after the start is kept by name (`kept.mjs`).
 */
import { EventEmitter } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Application, take } from './app.mjs';
import { described } from './errors.mjs';
import { Flights } from './flights.mjs';
import { exit, resources, soon } from './kept.mjs';
import { load } from './loading.mjs';
import { explainMissing } from './missing.mjs';
import { Mounts } from './routes.mjs';
import { allowSyncing } from './syncing.mjs';
import { Wire } from './wire.mjs';

class Host {
  #wire;
  #server = null;
  #flights = new Flights();
  #events = new EventEmitter();
  #plugin = null;
  #state = 'waiting'; // then booting, serving, stopping, ending
  /** What went astray while it stopped. */
  #late = null;

  constructor(wirePath) {
    this.#wire = new Wire(wirePath, (frame) => this.#take(frame));
    process.on('uncaughtException', (error) => this.#astray('uncaught', error));
    process.on('unhandledRejection', (reason) => this.#astray('rejection', reason));
  }

  #take(frame) {
    if (frame.t === 'dial') this.#server?.emit('connection', this.#wire.dial());
    else if (frame.t === 'boot') this.#boot(frame);
    else if (frame.t === 'look') this.#wire.send({ t: 'look', id: frame.id, ...busyness() });
    else if (frame.t === 'stop') this.#stop();
  }

  async #boot(boot) {
    this.#state = 'booting';
    const { root, dataRoot, url } = boot;
    try {
      mkdirSync(tmpdir(), { recursive: true });
      process.chdir(root);
      process.serverEvents = this.#events;
      globalThis.DATA_ROOT = dataRoot;
      explainMissing(root);
      if (process.permission !== undefined) await allowSyncing();
      // What came with requests of another time, and was left there.
      rmSync(join(dataRoot, '_uploads'), { recursive: true, force: true });
      const application = new Application(boot);
      await application.settle(boot.user);
      const mounts = new Mounts(application.express);
      const plugin = await load(boot, () => application.express.Router());
      this.#serve(application.handler(plugin, (error, req) => this.#faulted(error, req)));
      if (this.#state !== 'booting') return;
      this.#plugin = plugin;
      this.#state = 'serving';
      const routes = mounts.routesOf(plugin.router);
      const { info, exit: stops } = plugin;
      this.#wire.send({
        t: 'ready',
        info,
        routes,
        hasExit: stops !== null,
        language: `Node ${process.version.slice(1)}`,
      });
    } catch (error) {
      return this.#failed(error);
    }
    // Not in here: what its listeners throw is the plugin's, as in any other event.
    soon(() => this.#events.emit('server-started', { url: new URL(url) }));
  }

  #serve(handle) {
    // Deadlines are our front end's. Its headers are those of a caller and some of its own.
    const server = createServer({ requestTimeout: 0, keepAliveTimeout: 0, maxHeaderSize: 65_536 });
    server.on('request', (req, res) => {
      const id = take(req, 'isopod-request') ?? null;
      this.#flights.take(id, req, res, () => handle(req, res));
    });
    this.#server = server;
  }

  /** A handler threw, or rejected. */
  #faulted(error, req) {
    const flight = this.#flights.of(req);
    this.#wire.send({ t: 'fault', kind: 'handler', error: described(error), request: flight.id });
    flight.fail();
  }

  /** Nobody waits for what went wrong. */
  #astray(kind, error) {
    if (this.#state === 'ending') return;
    if (this.#state === 'stopping') {
      this.#late ??= described(error);
      return;
    }
    const flight = this.#flights.current();
    if (flight !== null) {
      this.#wire.send({ t: 'fault', kind, error: described(error), request: flight.id });
      flight.fail();
      return;
    }
    if (this.#state !== 'serving') return this.#failed(error);
    this.#state = 'ending';
    this.#flights.failAll(() => this.#wire.finish({ t: 'fault', kind, error: described(error), request: null }, 1));
  }

  #failed(error) {
    if (this.#state === 'stopping' || this.#state === 'ending') return;
    this.#state = 'ending';
    this.#wire.finish({ t: 'failed', error: described(error) }, 1);
  }

  async #stop() {
    if (this.#state === 'stopping' || this.#state === 'ending') return;
    this.#state = 'stopping';
    const stop = this.#plugin?.exit ?? null;
    let error = null;
    try {
      await stop?.();
    } catch (thrown) {
      error = described(thrown);
    }
    this.#state = 'ending';
    this.#wire.finish({ t: 'stopped', called: stop !== null, error: error ?? this.#late }, 0);
  }
}

/** What is awake in this process beside its requests. Those and the wire are pipes, and so are the ends of children. */
function busyness() {
  const all = resources();
  const children = all.filter((name) => name === 'ProcessWrap').length;
  const pipes = all.filter((name) => /^(?:Pipe|TTY)/.test(name)).length;
  return { handles: all.length - children - pipes, children };
}

const { ISOPOD_WIRE: wire } = process.env;
// It is not for the plugin, and not for its children.
delete process.env.ISOPOD_WIRE;
if (!wire) {
  process.stderr.write('ISOPOD_WIRE has to say which socket to use\n');
  exit(2);
}
new Host(wire);
