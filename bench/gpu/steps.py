#!/usr/bin/env python3
"""steps.py: times training steps of Vitrine and PyTorch in turns, the most telling first. A part of run.sh.

A comparison is one model with one batch and number of prompts. All its programs are made ready one after the other and
then have their turn in each round, so that what changes on the machine meets all of them. Each turn is a line of JSON in
the file of lines, written when it is over: {"session", "round", "program", "model", "batch", "prompts", "result"}, or
"skipped" with a reason in place of the result. A program counts with the turns of one session, and its ratio is made of
that session's turns. What has all its rounds, or was skipped, is not measured again.
"""
import argparse
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "peers"))
from lines import Lines, NoTime, Deadline, say  # noqa: E402
from programs import last_line  # noqa: E402

OURS = {"vitrine": (), "vitrine, not recorded": ("--eager",)}  # name -> more options of `vitrine bench step`
EAGER, AUTOCAST, COMPILED = "eager bf16, published", "eager autocast, published", "compiled, published"
COMPILED_KV, TUNED, TUNED_KV = "compiled, same algebra", "max-autotune, published", "max-autotune, same algebra"
TORCH = {  # name -> options of torch_step.py
    EAGER: ("--precision", "bf16", "--form", "textbook"),
    AUTOCAST: ("--precision", "autocast", "--form", "textbook"),
    "eager bf16, same algebra": ("--precision", "bf16", "--form", "kv"),
    COMPILED: ("--precision", "bf16", "--form", "textbook", "--compile", "default"),
    COMPILED_KV: ("--precision", "bf16", "--form", "kv", "--compile", "default"),
    TUNED: ("--precision", "bf16", "--form", "textbook", "--compile", "max-autotune"),
    TUNED_KV: ("--precision", "bf16", "--form", "kv", "--compile", "max-autotune"),
}
USUAL = (EAGER, COMPILED, COMPILED_KV)


@dataclass(frozen=True)
class Comparison:
    model: str  # as both call it, or "ours/PyTorch's"
    batch: int
    prompts: int
    torch: tuple = USUAL
    ours: tuple = ("vitrine",)  # run.sh --ours adds others

    def name(self):
        return f"{self.model}, batch {self.batch}, {self.prompts} prompts"


def comparisons(stage, sizes):
    """Of a stage, in their order: should the time run out, what comes last is missing."""
    if sizes == "tiny":  # of the two models each has a small one of its own: nothing is compared
        eager = (EAGER, AUTOCAST, "eager bf16, same algebra")
        return {"vit-b": [Comparison("builtin/vit-check", 1, 2, eager, tuple(OURS)), Comparison("builtin/vit-check", 1, 3, (EAGER,))],
                "rest": [Comparison("builtin-swin/swin-check", 1, 2, (EAGER,))]}[stage]
    if stage == "vit-b":
        first = [Comparison("vit-b16", batch, 50, (EAGER, AUTOCAST, COMPILED, COMPILED_KV), tuple(OURS)) for batch in (128, 16)]
        then = [Comparison("vit-b16", batch, prompts) for batch, prompts in
                ((128, 100), (128, 10), (64, 50), (16, 10), (16, 100), (64, 10), (64, 100))]
        return [*first, *then, Comparison("vit-b16", 128, 50, (TUNED, TUNED_KV))]
    return [Comparison(model, 64, prompts) for prompts in (50, 10, 100) for model in ("vit-l16", "swin-b")]


def of(lines, comparison, program):
    about = (program, comparison.model, comparison.batch, comparison.prompts)
    return [line for line in lines.all if (line["program"], line["model"], line["batch"], line["prompts"]) == about]


def has(lines, comparison, program, rounds):
    """Whether a program has its rounds in one session, or cannot have them."""
    found = of(lines, comparison, program)
    sessions = [line["session"] for line in found]
    return any("skipped" in line for line in found) or any(sessions.count(s) >= rounds for s in set(sessions))


class Torch:
    """torch_step.py, which waits for its turns."""

    def __init__(self, command, deadline):
        self.deadline = deadline
        self.errors = tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen([*command, "--on-request"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, start_new_session=True, bufsize=0)
        try:
            self.ready = self.answer()
        except BaseException:
            self.end()
            raise

    def answer(self):
        """Its next line; ValueError with the reason if there is none."""
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], self.deadline.left())[0]:
                raise NoTime
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            if not part:
                status = self.process.wait()
                self.errors.seek(0)
                words = self.errors.read().strip().splitlines()
                raise ValueError(f"ended with {status}: {words[-1][:300] if words else 'no output'}")
            line += part
        return json.loads(line)

    def turn(self):
        self.process.stdin.write(b"\n")
        return self.answer()

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # torch.compile's workers, too
        except ProcessLookupError:
            pass
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.errors):
            file.close()


def ours_of(options, comparison):
    return {**{name: OURS[name] for name in comparison.ours}, **options.ours}


class Session:
    """One comparison: the programs that are still to be measured, beside ours."""

    def __init__(self, options, lines, comparison, torch):
        self.options, self.lines, self.comparison, self.torch_names = options, lines, comparison, torch
        self.ours = ours_of(options, comparison)
        self.about = {"session": f"{time.strftime('%FT%TZ', time.gmtime())}-{os.getpid()}-{len(lines.all)}",
                      "stage": options.stage, "device": options.device, "sizes": options.sizes, "model": comparison.model,
                      "batch": comparison.batch, "prompts": comparison.prompts}
        self.torch = {}

    def command(self, name, own, peer):
        c, o = self.comparison, self.options
        ours, _, theirs = c.model.partition("/")
        sizes = ["--batch", str(c.batch), "--prompts", str(c.prompts), "--steps", str(o.steps)]
        if own is not None:
            return [o.vitrine, "bench", "step", "--model", ours, "--device", o.device, "--warmup", str(o.warmup), "--json",
                    *sizes, *own]
        return [o.python, str(HERE / "torch_step.py"), "--model", theirs or ours, "--device", o.torch_device, "--warmup",
                str(o.warmup), *sizes, *peer]

    def log(self, program, **what):
        self.lines.add({"round": 0, "program": program, **self.about, **what})
        if "skipped" in what:
            say(f"*** SKIPPED: {self.comparison.name()}: {program}: {what['skipped']} ***")
        else:
            say(f"{self.comparison.name()}: round {what['round']}: {program}: {what['result']['images_per_second']:.1f} images/s")

    def prepare(self):
        for name in self.torch_names:
            begin = time.monotonic()
            try:
                self.torch[name] = Torch(self.command(name, None, TORCH[name]), self.options.deadline)
                say(f"{self.comparison.name()}: {name}: ready after {time.monotonic() - begin:.0f} s")
            except ValueError as why:
                self.log(name, skipped=str(why))

    def round(self, round):
        for name, more in self.ours.items():
            line, why = last_line(self.command(name, more, None), self.options.environment, self.options.deadline.left())
            if line:
                self.log(name, round=round, result=json.loads(line))
            elif why.startswith("took longer"):
                raise NoTime
            elif name == "vitrine":
                sys.exit(f"gpu: {self.comparison.name()}: {name}: {why}")
            elif round == 1:
                self.log(name, skipped=why)
        for name, program in list(self.torch.items()):
            try:
                self.log(name, round=round, result=program.turn())
            except (ValueError, BrokenPipeError) as why:
                self.log(name, skipped=str(why))
                self.torch.pop(name).end()

    def run(self):
        try:
            self.prepare()
            for round in range(1, self.options.rounds + 1):
                self.round(round)
        finally:
            for program in self.torch.values():
                program.end()


def left_out(options, name):
    """Why a way to run PyTorch is left out, or None."""
    if not options.python:
        return "no PyTorch here"
    if "--compile" in TORCH[name] and not options.compile:
        return "torch.compile is left out"
    return None


def run_stage(options, lines):
    """Whether all of it is done."""
    for comparison in comparisons(options.stage, options.sizes):
        torch = [name for name in comparison.torch if not left_out(options, name)]
        missing = [name for name in torch if not has(lines, comparison, name, options.rounds)]
        ours = [name for name in ours_of(options, comparison) if not has(lines, comparison, name, options.rounds)]
        if not missing and not ours:
            say(f"{comparison.name()}: measured before")
            continue
        try:
            if options.deadline.left() < options.least:
                raise NoTime
            Session(options, lines, comparison, missing).run()
        except NoTime:
            say(f"{comparison.name()}: cut off: the time is over; the same command goes on from here")
            return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("lines", "stage", "device", "sizes", "vitrine"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--python", default="", help="one that has PyTorch; none goes without")
    parser.add_argument("--ours", action="append", default=[], metavar="NAME=OPTIONS")
    parser.add_argument("--libraries", default="", help="LD_LIBRARY_PATH of the vitrine program")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--seconds", type=float, default=520)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    tiny = options.sizes == "tiny"
    options.steps, options.warmup = (2, 1) if tiny else (30, 5)
    options.least = 1 if tiny else 40  # seconds, with less of which nothing is begun
    options.deadline = Deadline(options.seconds)
    options.environment = {"LD_LIBRARY_PATH": options.libraries} if options.libraries else {}
    options.torch_device = "cpu" if options.device.startswith("emulator") else options.device
    options.ours = {name: tuple(more.split()) for name, _, more in (own.partition("=") for own in options.ours)}
    for reason in sorted({left_out(options, name) for c in comparisons(options.stage, options.sizes) for name in c.torch} - {None}):
        say(f"*** LEFT OUT: {reason} ***")
    sys.exit(0 if run_stage(options, Lines(Path(options.lines))) else 3)


if __name__ == "__main__":
    main()
