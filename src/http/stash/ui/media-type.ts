import { extname } from 'node:path';

export type MediaType = { type: string; attachment: boolean };

/**
 * What a file is, by its name alone. What a browser would open as a document of ours comes as what it is only where the
 * sandbox of the answer leaves it inert; what we do not know comes as bytes to be saved.
 */
export function mediaTypeOf(path: string): MediaType {
  const type = TYPES[extname(path).toLowerCase()];
  return type === undefined ? { type: 'application/octet-stream', attachment: true } : { type, attachment: false };
}

const text = (kind: string) => `text/${kind}; charset=utf-8`;

const TYPES: Readonly<Record<string, string>> = {
  '.js': text('javascript'),
  '.mjs': text('javascript'),
  '.css': text('css'),
  '.txt': text('plain'),
  '.md': text('plain'),
  '.csv': text('plain'),
  '.vtt': text('vtt'),
  '.json': 'application/json',
  '.map': 'application/json',
  '.wasm': 'application/wasm',
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.gif': 'image/gif',
  '.webp': 'image/webp',
  '.avif': 'image/avif',
  '.bmp': 'image/bmp',
  '.ico': 'image/x-icon',
  '.woff': 'font/woff',
  '.woff2': 'font/woff2',
  '.ttf': 'font/ttf',
  '.otf': 'font/otf',
  '.mp3': 'audio/mpeg',
  '.m4a': 'audio/mp4',
  '.aac': 'audio/aac',
  '.ogg': 'audio/ogg',
  '.oga': 'audio/ogg',
  '.opus': 'audio/ogg',
  '.flac': 'audio/flac',
  '.wav': 'audio/wav',
  '.mp4': 'video/mp4',
  '.m4v': 'video/mp4',
  '.webm': 'video/webm',
  '.ogv': 'video/ogg',
  '.mov': 'video/quicktime',
  // Documents, but not ours: see FENCE.
  '.svg': 'image/svg+xml',
  '.html': text('html'),
  '.htm': text('html'),
};

/**
 * On every file of a plugin. Whatever is opened as a page has an origin that is nobody's, runs nothing, sends no form and
 * loads nothing but styles and pictures: an SVG can still be a picture, and a page can be shown in a frame of the page
 * that it belongs to. Nobody else may have any of it.
 */
export const FENCE: Readonly<Record<string, string>> = {
  'content-security-policy':
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
};
