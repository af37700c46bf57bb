"""lines.py: files in which each line is a finished measurement, as JSON. Not a program."""
import json
import sys
import time


def say(words):
    print(f"gpu: {words}", file=sys.stderr, flush=True)


class Lines:
    """What was measured. A line that was cut off is left behind."""

    def __init__(self, path):
        self.path, self.all = path, []
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        self.whole = not text or text.endswith("\n")
        for line in text.splitlines():
            try:
                one = json.loads(line)
            except json.JSONDecodeError:
                say(f"{path.name}: a line was cut off")
                continue
            self.all.append(one)

    def add(self, line):
        self.all.append(line)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(("" if self.whole else "\n") + json.dumps(line) + "\n")
        self.whole = True


class NoTime(Exception):
    """The stage's time is over."""


class Deadline:
    def __init__(self, seconds):
        self.at = time.monotonic() + seconds

    def left(self):
        """Seconds; NoTime if there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise NoTime
        return left
