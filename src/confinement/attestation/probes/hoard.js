// An embedded plugin that takes memory, and touches it, outside of its heap. Beyond what it is allowed, it has to be ended.
const held = [];
try {
  while (held.length < 96) held.push(new Uint8Array(4194304).fill(120));
} catch {
  // Its isolate gives it no more, which is another bound: what it has got is more than it is allowed all the same.
}
const until = Date.now() + 1500;
while (Date.now() < until);
({ Output: { mb: 4 * held.length, refused: false } });
