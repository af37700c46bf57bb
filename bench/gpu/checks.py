#!/usr/bin/env python3
"""checks.py: runs the tests of a device one by one, as they are and under compute-sanitizer. A part of run.sh.

Each test is a line of JSON in the file of lines: {"test", "tool", "passed", "seconds", "words"}. One that passed is not run
again. Exit status 1 if a test failed, 3 if the time was over.
"""
import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from lines import Deadline, Lines, NoTime, say

TINY = ("device: tensors come and go*", "device: a name that is none*")  # what the emulator runs in no time
SANITIZED = ("device: every op in f32*", "device: sizes for*", "device: steps of SGD*", "device: clipping*",
             "device: operands that begin*")  # small ones, and all kernels are in them
TOOLS = ("memcheck", "racecheck", "initcheck")


def names(program, filters, environment):
    listed = subprocess.run([program, "-tc=" + ",".join(filters), "-ltc", "--no-colors"], capture_output=True, text=True,
                            check=True, env=environment).stdout.split("=" * 79)
    return [line for line in listed[1].splitlines() if line]


class Checks:
    def __init__(self, options):
        self.options = options
        self.lines, self.deadline = Lines(Path(options.lines)), Deadline(options.seconds)
        self.environment = {**os.environ, "VITRINE_TEST_DEVICE": options.device}
        if options.libraries:
            self.environment["LD_LIBRARY_PATH"] = options.libraries

    def run(self, test, tool):
        if any(line["test"] == test and line["tool"] == tool and line["passed"] for line in self.lines.all):
            return
        command = [self.options.tests, "-tc=" + re.sub(r"[,\\\[\]]", "?", test), "--no-colors"]
        if tool != "none":
            command = [self.options.sanitizer, "--tool", tool, "--error-exitcode", "9", "--print-limit", "3", *command]
        begin, left = time.monotonic(), self.deadline.left()
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                  env=self.environment, timeout=left)
        except subprocess.TimeoutExpired:
            raise NoTime from None
        ran = re.search(r"test cases: +1 \| +1 passed \| +0 failed", done.stdout) is not None
        passed = done.returncode == 0 and ran
        seconds = round(time.monotonic() - begin, 2)
        words = [] if passed else [line for line in done.stdout.splitlines() if re.search(r"ERROR|error|=========", line)]
        self.lines.add({"test": test, "tool": tool, "passed": passed, "seconds": seconds, "status": done.returncode,
                        "words": "\n".join((words or done.stdout.splitlines())[:12])[:2000] if not passed else ""})
        say(f"{'passed' if passed else '*** FAILED'}: {test} ({tool}, {seconds} s)")
        if not passed:
            print(done.stdout[-3000:], file=sys.stderr)

    def run_all(self):
        tiny = self.options.sizes == "tiny"
        every = names(self.options.tests, TINY if tiny else ("device*",), self.environment)
        if not every:
            sys.exit("gpu: these tests have none for a device: they were built without the emulator's (VITRINE_EMULATOR)")
        for test in every:
            self.run(test, "none")
        if not self.options.sanitizer:
            say("*** LEFT OUT: memcheck, racecheck, initcheck: no compute-sanitizer here ***")
            return
        for tool in TOOLS:
            for test in names(self.options.tests, SANITIZED, self.environment):
                self.run(test, tool)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("lines", "device", "sizes", "tests"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--sanitizer", default="", help="compute-sanitizer; none goes without")
    parser.add_argument("--libraries", default="", help="LD_LIBRARY_PATH of the tests")
    parser.add_argument("--seconds", type=float, default=520)
    options = parser.parse_args()
    checks = Checks(options)
    before = len(checks.lines.all)
    try:
        checks.run_all()
    except NoTime:
        say("the time is over; the same command goes on from here")
        sys.exit(3)
    sys.exit(0 if all(line["passed"] for line in checks.lines.all[before:]) else 1)


if __name__ == "__main__":
    main()
