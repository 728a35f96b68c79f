import { Buffer } from 'node:buffer';
import { readFile } from 'node:fs/promises';
import { crc32 } from 'node:zlib';

/**
 * Characters are kept as JSON, in base64, in text chunks of the PNG that shows them: `ccv3` in the newer form, `chara` in the
 * older. The newer one counts where there are both.
 */
const SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
const KEYWORDS = ['ccv3', 'chara'];

/** The JSON text of the character in an image. */
export function read(image) {
  const texts = chunksOf(Buffer.from(image)).map(textOf);
  for (const keyword of KEYWORDS) {
    const found = texts.find((one) => one?.keyword === keyword);
    if (found !== undefined) return Buffer.from(found.text, 'base64').toString('utf8');
  }
  throw new Error('There is no character in this PNG');
}

/** The same image with another character, in both forms where it can be had in the newer one. */
export function write(image, data) {
  const chunks = chunksOf(Buffer.from(image)).filter((chunk) => !KEYWORDS.includes(textOf(chunk)?.keyword));
  const texts = [chunkOf('chara', data)];
  const newer = inNewerForm(data);
  if (newer !== null) texts.push(chunkOf('ccv3', newer));
  chunks.splice(-1, 0, ...texts);
  return Buffer.concat([SIGNATURE, ...chunks.map(written)]);
}

/** The JSON text of the character in a file. */
export async function parse(file, format = 'png') {
  if (format !== 'png') throw new Error(`A character cannot be read out of ${JSON.stringify(format)}`);
  return read(await readFile(file));
}

function chunksOf(image) {
  if (!image.subarray(0, 8).equals(SIGNATURE)) throw new Error('This is no PNG');
  const chunks = [];
  let at = 8;
  while (at + 12 <= image.length) {
    const length = image.readUInt32BE(at);
    if (at + 12 + length > image.length) break;
    const type = image.toString('latin1', at + 4, at + 8);
    chunks.push({ type, data: image.subarray(at + 8, at + 8 + length) });
    at += 12 + length;
    if (type === 'IEND') return chunks;
  }
  throw new Error('This PNG is cut off');
}

function textOf({ type, data }) {
  if (type !== 'tEXt') return undefined;
  const end = data.indexOf(0);
  return { keyword: data.toString('latin1', 0, end).toLowerCase(), text: data.toString('latin1', end + 1) };
}

function chunkOf(keyword, json) {
  const text = Buffer.from(json, 'utf8').toString('base64');
  return { type: 'tEXt', data: Buffer.from(`${keyword}\0${text}`, 'latin1') };
}

function inNewerForm(json) {
  try {
    return JSON.stringify({ ...JSON.parse(json), spec: 'chara_card_v3', spec_version: '3.0' });
  } catch {
    return null;
  }
}

function written({ type, data }) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const chunk = Buffer.alloc(body.length + 8);
  chunk.writeUInt32BE(data.length, 0);
  body.copy(chunk, 4);
  chunk.writeUInt32BE(crc32(body), body.length + 4);
  return chunk;
}
