"""An external plugin of "interface: rpc": a server of JSON-RPC 1.0 on standard input and output, one object a line."""
import json
import sys
import threading

stop = threading.Event()


def log(level, text):
    # A log line is: 0x01, one letter for the level, 0x02, the text.
    print(f"\x01{level}\x02{text}", file=sys.stderr, flush=True)


def run(given):
    start = count = int(given["args"]["from"])
    while count > 0 and not stop.wait(0.1):
        count -= 1
        log("p", str(1 - count / start))
    return {"error": None, "output": "stopped" if stop.is_set() else "lift-off"}


def answer(call):
    if call["method"] == "RPCRunner.Run":
        result = run(call["params"][0])
    else:
        stop.set()
        result = True
    print(json.dumps({"id": call["id"], "result": result, "error": None}), flush=True)


# In threads, since RPCRunner.Stop comes while RPCRunner.Run is under way.
for line in sys.stdin:
    threading.Thread(target=answer, args=[json.loads(line)], daemon=True).start()
