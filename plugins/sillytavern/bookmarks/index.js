import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Shelf } from './shelf.js';

export const info = {
  id: 'bookmarks',
  name: 'Bookmarks',
  description: 'Keeps places in chats, with a note on each',
};

/** All paths are below /api/plugins/bookmarks. Bodies are parsed before we see them. */
export async function init(router) {
  // An extension asks here first, to find out whether the plugin is there at all.
  router.get('/probe', (_req, res) => res.sendStatus(204));

  router.get('/', (req, res) => {
    res.json(shelfOf(req).find(String(req.query.search ?? '')));
  });

  router.post('/', (req, res) => {
    const { chat, message, note = '' } = req.body;
    if (typeof chat !== 'string' || !Number.isInteger(message) || typeof note !== 'string') {
      return res.status(400).json({ error: 'A bookmark has a chat, the number of a message, and perhaps a note' });
    }
    res.status(201).json(shelfOf(req).add({ chat, message, note }));
  });

  // As a file, line by line: however many there are, they are not made into one text first.
  router.get('/export', async (req, res) => {
    res.attachment('bookmarks.jsonl').type('application/jsonl');
    await pipeline(Readable.from(linesOf(shelfOf(req))), res);
  });

  router.delete('/:id', (req, res) => {
    res.sendStatus(shelfOf(req).remove(req.params.id) ? 204 : 404);
  });

  console.log('Bookmarks are kept in the folder of each user');
}

export async function exit() {
  console.log('Nothing is left to be done: all of it is in files');
}

/** Each user has one. */
function shelfOf(req) {
  return new Shelf(req.user.directories.root);
}

function* linesOf(shelf) {
  for (const one of shelf.find('')) yield `${JSON.stringify(one)}\n`;
}
