"""Takes memory, and touches it, until it is refused, or stopped. Its one argument is how many MB at most."""
import json
import sys
import time

most = int(sys.argv[1])
held = []
refused = False
while len(held) < most // 4:
    try:
        # Not zeros, which would be one page many times over.
        held.append(b'x' * (4 << 20))
    except MemoryError:
        refused = True
        break
    time.sleep(0.001)
# Whoever weighs looks now and then only.
if not refused:
    time.sleep(1.5)
print(json.dumps({'output': {'mb': 4 * len(held), 'refused': refused}}))
