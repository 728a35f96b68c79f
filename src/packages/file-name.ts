import { hash } from 'node:crypto';

const PLAIN = /^[a-z0-9][a-z0-9_-]{0,62}$/;

/** A name for a file or folder that stands for any text, another one for each. What is plain stays as it is. */
export function fileName(text: string): string {
  if (PLAIN.test(text)) return text;
  // The part that people read is not what tells two apart; a plain name has no "~".
  const readable = text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 40);
  return `${readable}~${hash('sha256', text).slice(0, 32)}`;
}
