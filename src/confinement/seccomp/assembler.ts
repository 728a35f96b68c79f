import { ARCHITECTURES, type Architecture, CALLS, type Call, NEWEST } from './calls.ts';
import { ERRORS, type Rules, type Ruling, type Verdict } from './rules.ts';

/**
 * Makes of rules what the kernel runs before each system call: a program for the machine of the classic Berkeley packet
 * filter, which knows one number (A), jumps forward only, and ends with a verdict.
 *
 * The numbers of all calls are a line that is cut into stretches with one ruling each. The program halves the line until
 * it stands in one stretch, so it takes eight comparisons at most, and where the ruling depends on an argument, it loads
 * that and compares on. Each piece of a program ends with a verdict whichever way it takes, so pieces are put one after
 * the other, and a jump is over a piece that is whole.
 */
export function assemble(rules: Rules, architecture: Architecture): Buffer {
  const program = [
    load(ARCHITECTURE),
    jump('==', ARCHITECTURES[architecture].audit, 1, 0),
    verdict('kill'),
    load(NUMBER),
    ...search(stretches(rules, architecture)),
  ];
  const bytes = Buffer.alloc(program.length * 8);
  for (const [index, { code, jt = 0, jf = 0, k }] of program.entries()) {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(jt, index * 8 + 2);
    bytes.writeUInt8(jf, index * 8 + 3);
    bytes.writeUInt32LE(k, index * 8 + 4);
  }
  return bytes;
}

/** From a number up to the next one's. */
type Stretch = { from: number; ruling: Ruling };

function stretches(rules: Rules, architecture: Architecture): Stretch[] {
  const { column } = ARCHITECTURES[architecture];
  const line: Stretch[] = [{ from: 0, ruling: 'allow' }];
  const judged = Object.entries(rules)
    .map(([call, ruling]): [number | null, Ruling] => [CALLS[call as Call][column], ruling])
    .filter((one): one is [number, Ruling] => one[0] !== null)
    .sort(([a], [b]) => a - b);
  for (const [number, ruling] of judged) {
    line.push({ from: number, ruling }, { from: number + 1, ruling: 'allow' });
  }
  // As if the kernel were as old as these rules, and programs know what to do with an old kernel.
  line.push({ from: NEWEST + 1, ruling: 'ENOSYS' });
  // The same calls under other numbers, for programs with short pointers. The last number is no call, but "none".
  if (architecture === 'x64') line.push({ from: 0x40000000, ruling: 'kill' }, { from: 0xffffffff, ruling: 'ENOSYS' });

  const filled = line.filter((one, index) => one.from !== line[index + 1]?.from);
  return filled.filter((one, index) => one.ruling !== filled[index - 1]?.ruling);
}

function search(line: readonly Stretch[]): Instruction[] {
  const middle = line[line.length >> 1] as Stretch;
  if (line.length === 1) return rule(middle.ruling);
  const below = search(line.slice(0, line.length >> 1));
  const above = search(line.slice(line.length >> 1));
  return [...either('>=', middle.from, below), ...below, ...above];
}

function rule(ruling: Ruling): Instruction[] {
  if (typeof ruling === 'string') return [verdict(ruling)];
  const is = rule(ruling.is);
  const otherwise = rule(ruling.otherwise);
  const comparisons =
    'anyOf' in ruling
      ? either('&', ruling.anyOf, otherwise)
      : ruling.oneOf.map((one, index, { length }) => jump('==', one, length - 1 - index + otherwise.length, 0));
  return [load(ARGUMENTS + ruling.argument * 8), ...comparisons, ...otherwise, ...is];
}

/** Goes over `no` where the comparison holds, however long that is: a conditional jump reaches over 255 at most. */
function either(compare: Compare, k: number, no: readonly Instruction[]): Instruction[] {
  if (no.length < 256) return [jump(compare, k, no.length, 0)];
  return [jump(compare, k, 0, 1), { code: 0x05, k: no.length }];
}

type Instruction = { code: number; jt?: number; jf?: number; k: number };

/** Where things are in what the kernel tells (struct seccomp_data); of arguments, the lower half comes first. */
const NUMBER = 0;
const ARCHITECTURE = 4;
const ARGUMENTS = 16;

function load(offset: number): Instruction {
  return { code: 0x20, k: offset };
}

const COMPARE = { '==': 0x15, '>=': 0x35, '&': 0x45 } as const;
type Compare = keyof typeof COMPARE;

function jump(compare: Compare, k: number, jt: number, jf: number): Instruction {
  return { code: COMPARE[compare], jt, jf, k };
}

function verdict(verdict: Verdict): Instruction {
  const k = verdict === 'allow' ? 0x7fff0000 : verdict === 'kill' ? 0x80000000 : 0x00050000 | ERRORS[verdict];
  return { code: 0x06, k };
}
