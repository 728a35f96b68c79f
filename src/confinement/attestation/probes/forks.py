"""Starts processes until it is refused, or stopped. Its one argument is how many at most."""
import errno
import json
import os
import signal
import sys

most = int(sys.argv[1])
children = []
refused = None
while len(children) < most:
    try:
        child = os.fork()
    except OSError as error:
        refused = errno.errorcode.get(error.errno, str(error.errno))
        break
    if child == 0:
        signal.alarm(10)
        signal.pause()
        os._exit(0)
    children.append(child)
# Whoever counts looks now and then only.
signal.sigtimedwait([], 1.5 if refused is None else 0)
for child in children:
    os.kill(child, signal.SIGKILL)
print(json.dumps({'output': {'count': len(children), 'refused': refused}}))
