import { connect } from 'node:net';
import { exit, parse, stringify } from './kept.mjs';

/** Frames that lie unread for longer than this are not added to: whoever would read them has other troubles. */
const UNREAD_MOST = 4_000_000;

/** Where frames come from and go to. The process ends with it, as nobody is left to be there for. */
export class Wire {
  #path;
  #socket;
  #begun = '';

  constructor(path, take) {
    this.#path = path;
    this.#socket = connect(path);
    this.#socket.setEncoding('utf8');
    this.#socket.on('data', (text) => this.#read(text, take));
    this.#socket.on('error', () => exit(0));
    this.#socket.on('close', () => exit(0));
  }

  /** One more connection there, over which requests come. */
  dial() {
    const socket = connect(this.#path);
    socket.on('error', () => {});
    return socket;
  }

  send(frame) {
    if (this.#socket.writableLength < UNREAD_MOST) this.#socket.write(line(frame));
  }

  /** The last one, and then the end. */
  finish(frame, code) {
    this.#socket.removeAllListeners('close');
    this.#socket.on('close', () => exit(code));
    this.#socket.write(line(frame), () => exit(code));
  }

  #read(text, take) {
    const lines = (this.#begun + text).split('\n');
    this.#begun = lines.pop();
    for (const one of lines) take(parse(one));
  }
}

function line(frame) {
  return `${stringify(frame)}\n`;
}
