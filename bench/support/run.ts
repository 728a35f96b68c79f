import {
  at,
  median,
  type OnceQuestion,
  type Options,
  type Question,
  type RateQuestion,
  type Row,
  type Sample,
  type Subject,
} from './question.ts';

/** Answers the questions; what they are compared with is answered in the same run. */
export async function answers(questions: readonly Question[], options: Options, say: Say): Promise<Row[]> {
  const rates = await measureRates(
    questions.filter((one) => one.kind === 'rate'),
    options,
    say,
  );
  const rows = questions.flatMap((one) => (one.kind === 'rate' ? (rates.get(one.name) ?? []) : []));
  for (const question of questions) if (question.kind === 'once') rows.push(...(await once(question, options, say)));
  return rows;
}

export type Say = (line: string) => void;

/** All are started first, then each has its turn, round after round: noise of the machine meets all of them. */
async function measureRates(questions: RateQuestion[], options: Options, say: Say): Promise<Map<string, Row>> {
  const rows = new Map<string, Row>();
  await using scope = new AsyncDisposableStack();
  const subjects = new Map<RateQuestion, { subject: Subject; samples: Sample[] }>();
  for (const question of questions) {
    say(`${question.name}: starting`);
    try {
      subjects.set(question, { subject: scope.use(await question.open(options)), samples: [] });
    } catch (error) {
      rows.set(question.name, failedRow(question, error));
    }
  }
  const rounds = options.quick ? 2 : 7;
  for (let round = 0; round < rounds; round++) {
    for (const [{ name, unit }, { subject, samples }] of subjects) {
      const sample = await subject
        .measure(options.quick ? 1 : 2)
        .catch((error: unknown) => ({ value: Number.NaN, ok: false, note: `FAILED: ${words(error)}` }));
      samples.push(sample);
      say(`round ${round + 1} of ${rounds}: ${name} ${sample.value.toFixed(0)} ${unit}`);
    }
  }
  for (const [question, { samples }] of subjects) {
    const worst = samples.find(({ ok }) => !ok) ?? samples.at(-1);
    const values = samples.map(({ value }) => value);
    const ratios: Record<string, number> = {};
    for (const [{ name }, { samples: others }] of subjects) {
      const wanted = name === 'echo' || question.targets?.some((one) => 'of' in one && one.of === name);
      // Round by round, since a round's neighbours saw the same machine.
      if (wanted) ratios[name] = median(values.map((value, i) => value / (others[i]?.value ?? Number.NaN)));
    }
    rows.set(question.name, {
      ...base(question),
      value: median(values),
      ratios,
      targets: verdicts(question.targets, at([median(values)], 0), ratios),
      note: worst?.note ?? '',
      ok: worst?.ok ?? false,
    });
  }
  return rows;
}

async function once(question: OnceQuestion, options: Options, say: Say): Promise<Row[]> {
  say(`${question.name}: measuring`);
  try {
    const rows = await question.run(options);
    return rows.map(({ title, unit, targets, value, note, ok }, index) => ({
      ...base(question),
      ...(title === undefined ? {} : { title }),
      ...(unit === undefined ? {} : { unit }),
      value,
      ratios: {},
      targets: verdicts(targets ?? (index === 0 ? question.targets : []), value, {}),
      note: note ?? '',
      ok,
    }));
  } catch (error) {
    return [failedRow(question, error)];
  }
}

function verdicts(targets: Question['targets'] = [], value: number, ratios: Record<string, number>): Row['targets'] {
  return targets.map((target) => {
    if ('atMost' in target) return { text: `≤ ${target.atMost}`, met: value <= target.atMost };
    const ratio = ratios[target.of];
    return {
      text: `≥ ${target.atLeast} × ${target.of}`,
      met: ratio === undefined || Number.isNaN(ratio) ? null : ratio >= target.atLeast,
    };
  });
}

function failedRow(question: Question, error: unknown): Row {
  const note = `FAILED: ${words(error)}`;
  const targets = verdicts(question.targets, Number.NaN, {});
  return { ...base(question), value: Number.NaN, ratios: {}, targets, note, ok: false };
}

function base({ name, title, unit }: Question) {
  return { name, title, unit };
}

function words(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').slice(0, 300);
}
