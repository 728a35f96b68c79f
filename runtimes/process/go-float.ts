/**
 * `text` as a number by the rules of Go's `strconv.ParseFloat`, which Stash reads progress with; null where that
 * fails. Beside decimals it takes hexadecimal numbers (their exponent is a must), infinities, NaN, and underscores
 * between digits; it refuses what is too large to hold.
 */
export function goFloat(text: string): number | null {
  if (/^[+-]?inf(?:inity)?$/i.test(text)) return text.startsWith('-') ? -Infinity : Infinity;
  if (/^nan$/i.test(text)) return Number.NaN;
  const value = DECIMAL.test(text) ? Number(text.replaceAll('_', '')) : hexadecimal(text);
  return value === null || !Number.isFinite(value) ? null : value;
}

const DIGITS = '[0-9](?:_?[0-9])*';
const DECIMAL = new RegExp(`^[+-]?(?:${DIGITS}\\.?|${DIGITS}\\.${DIGITS}|\\.${DIGITS})(?:[eE][+-]?${DIGITS})?$`);
const HEXADECIMAL =
  /^([+-]?)0[xX]((?:_?[0-9a-fA-F])*)(?:\.((?:[0-9a-fA-F](?:_?[0-9a-fA-F])*)?))?[pP]([+-]?[0-9](?:_?[0-9])*)$/;

function hexadecimal(text: string): number | null {
  const match = HEXADECIMAL.exec(text);
  if (match === null) return null;
  const [, sign = '', whole = '', fraction = '', exponent = ''] = match.map((part) => part?.replaceAll('_', '') ?? '');
  if (whole === '' && fraction === '') return null;
  let value = 0;
  for (const digit of whole) value = value * 16 + Number.parseInt(digit, 16);
  let scale = 1;
  for (const digit of fraction) {
    scale /= 16;
    value += Number.parseInt(digit, 16) * scale;
  }
  return (sign === '-' ? -1 : 1) * value * 2 ** Number(exponent);
}
