import { AsyncLocalStorage } from 'node:async_hooks';
import { after, soon } from './kept.mjs';

/** How long answers have to leave before the process does. */
const LEAVE_MS = 250;
const LOST = 'The plugin has failed at this request.\n';

/** The requests under way. What is done for one remembers it, through promises, timers and callbacks. */
export class Flights {
  #current = new AsyncLocalStorage();
  #byRequest = new WeakMap();
  #open = new Set();

  /** Takes a request with all that is done for it. */
  take(id, req, res, handle) {
    const flight = new Flight(id, res);
    this.#byRequest.set(req, flight);
    this.#open.add(flight);
    res.once('close', () => this.#open.delete(flight));
    this.#current.run(flight, handle);
  }

  of(req) {
    return this.#byRequest.get(req);
  }

  /** The one that is being dealt with, unless it has had all of its answer: what is done after that is the plugin's own. */
  current() {
    const flight = this.#current.getStore();
    return flight === undefined || flight.isAnswered ? null : flight;
  }

  /** Answers all that can be answered, and then goes on, soon. */
  async failAll(then) {
    const left = [...this.#open].map((flight) => flight.fail());
    await Promise.race([Promise.all(left), new Promise((resolve) => after(resolve, LEAVE_MS))]);
    soon(then);
  }
}

class Flight {
  id;
  #res;

  constructor(id, res) {
    this.id = id;
    this.#res = res;
  }

  get isAnswered() {
    return this.#res.writableFinished;
  }

  /** An honest answer where there is none yet, and a cut one where it had begun. Resolves when it has left. */
  fail() {
    const res = this.#res;
    if (res.writableFinished || res.destroyed) return;
    const left = new Promise((resolve) => res.once('close', resolve));
    if (res.writableEnded) return left;
    if (res.headersSent) {
      res.destroy();
      return left;
    }
    for (const name of res.getHeaderNames()) res.removeHeader(name);
    const headers = { 'content-type': 'text/plain; charset=utf-8', 'isopod-verdict': 'fault', connection: 'close' };
    res.writeHead(500, headers).end(LOST);
    return left;
  }
}
