import json
import os
import threading
from collections import Counter

FILE = os.path.join(os.environ.get("ISOPOD_DATA", "/data"), "tally.json")


class Ledger:
    """Counts by name, in memory and in a file. Several runs may be at it at the same time."""

    def __init__(self):
        self._lock = threading.Lock()
        self._counts = Counter()
        if os.path.exists(FILE):
            with open(FILE) as kept:
                self._counts.update(json.load(kept))

    @property
    def total(self):
        return sum(self._counts.values())

    def add(self, name):
        with self._lock:
            self._counts[name] += 1
            self._keep()
            return self._counts[name]

    def first(self, most):
        return [{"name": name, "count": count} for name, count in self._counts.most_common(most)]

    def clear(self):
        with self._lock:
            self._counts.clear()
            self._keep()

    def _keep(self):
        with open(FILE + ".new", "w") as kept:
            json.dump(self._counts, kept)
        os.replace(FILE + ".new", FILE)
