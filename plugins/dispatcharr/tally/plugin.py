from .ledger import Ledger


class Plugin:
    """Its name, settings and actions stand in plugin.json. One of it lives for as long as the plugin is enabled."""

    def __init__(self):
        self.ledger = Ledger()

    def run(self, action, params, context):
        if action == "count":
            channel = params.get("payload", {}).get("channel_name", "unknown")
            context["logger"].info("%s: %s", params.get("event", "by hand"), channel)
            return {"status": "ok", "channel": channel, "count": self.ledger.add(channel)}
        if action == "show":
            most = int(context["settings"]["most"])
            return {"status": "ok", "channels": self.ledger.first(most), "total": self.ledger.total}
        if action == "reset":
            self.ledger.clear()
            return {"status": "ok", "message": "Nothing is counted any more"}
        return {"status": "error", "message": f"Unknown action: {action}"}
