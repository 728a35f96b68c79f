import threading
import time

from core.utils import send_websocket_update


class Plugin:
    """Has no plugin.json: all that there is to know of it is here, once it is enabled. Beats in a thread of its own."""

    name = "Heartbeat"
    version = "1.0.0"
    description = "Tells whoever listens that it is alive"
    fields = [
        {"id": "seconds", "label": "Seconds between beats", "type": "number", "default": 10},
        {"id": "token", "label": "Token", "type": "string", "input_type": "password", "default": ""},
    ]
    actions = [
        {"id": "start", "label": "Start"},
        {"id": "status", "label": "Status"},
    ]

    def __init__(self):
        self._stopped = threading.Event()
        self._thread = None
        self._beats = 0
        self._since = None

    def run(self, action, params, context):
        if action == "start":
            return self._start(float(context["settings"]["seconds"]))
        if action == "status":
            return {"status": "ok", "beating": self._thread is not None, "beats": self._beats}
        return {"status": "error", "message": f"Unknown action: {action}"}

    def stop(self, context):
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=2)
        context["logger"].info("Stopped after %d beats (%s)", self._beats, context["reason"])

    def _start(self, seconds):
        if self._thread is None:
            self._since = time.time()
            self._thread = threading.Thread(target=self._beat, args=(seconds,), daemon=True)
            self._thread.start()
        return {"status": "ok", "message": "It beats"}

    def _beat(self, seconds):
        while True:
            self._beats += 1
            send_websocket_update("updates", "update", {"type": "heartbeat", "beats": self._beats})
            if self._stopped.wait(seconds):
                return
