// An embedded plugin: a plain script. `input.Args` holds the arguments; the value of the last statement is the answer.
const words = String(input.Args.text || '').toLowerCase().split(/[^a-z0-9']+/).filter(Boolean);

const counts = {};
for (const word of words) counts[word] = (counts[word] || 0) + 1;

let commonest = null;
for (const word of Object.keys(counts)) {
  if (commonest === null || counts[word] > counts[commonest]) commonest = word;
}

log.Info(words.length + ' words');
log.Progress(1);

({ Output: { words: words.length, different: Object.keys(counts).length, commonest } });
