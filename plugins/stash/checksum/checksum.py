"""An external plugin: JSON on standard input, JSON on standard output, log lines on standard error."""
import hashlib
import json
import sys


def log(level, text):
    # A log line is: 0x01, one letter for the level, 0x02, the text.
    print(f"\x01{level}\x02{text}", file=sys.stderr, flush=True)


given = json.load(sys.stdin)
text = given["args"].get("text", "")

log("p", "0.5")
log("i", f"summing up {len(text)} characters")
log("p", "1")
json.dump({"output": {"sha256": hashlib.sha256(text.encode()).hexdigest()}}, sys.stdout)
