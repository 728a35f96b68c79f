import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';

/** The bookmarks of one user, in a file. It is read and written in one go, so two requests never mix theirs. */
export class Shelf {
  #file;

  constructor(folder) {
    this.#file = join(folder, 'bookmarks.json');
  }

  find(text) {
    const wanted = text.toLowerCase();
    return this.#all().filter(({ chat, note }) => `${chat}\n${note}`.toLowerCase().includes(wanted));
  }

  add({ chat, message, note }) {
    const bookmark = { id: randomUUID(), chat, message, note, at: new Date().toISOString() };
    this.#keep([...this.#all(), bookmark]);
    return bookmark;
  }

  /** Whether there was one. */
  remove(id) {
    const all = this.#all();
    const left = all.filter((one) => one.id !== id);
    if (left.length < all.length) this.#keep(left);
    return left.length < all.length;
  }

  #all() {
    return existsSync(this.#file) ? JSON.parse(readFileSync(this.#file, 'utf8')) : [];
  }

  #keep(bookmarks) {
    writeFileAtomic.sync(this.#file, JSON.stringify(bookmarks));
  }
}
