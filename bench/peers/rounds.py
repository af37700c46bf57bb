#!/usr/bin/python3
"""rounds.py: runs the programs of a comparison in turns, and logs each run as a line of JSON for summary.py.

    rounds.py --log FILE [options of run.sh] vit-b16:8 vit-ti16:32 ...

First each way of running PyTorch has one timed step (`tried`); then come the rounds (`step`, `infer`, `gemm`). A line holds
what, program, variant, form, precision, model, batch, prompts, round, and result or skipped (why). A run that fails is
named and skipped, but for Vitrine's, for the comparison of forms and for Debian's PyTorch: those end everything.
"""
import argparse
import json
import sys
from dataclasses import replace

from programs import Programs, Variant, last_line, variants

MAIN_PROMPTS = 50
SLOW_STEP = 30  # seconds; a bf16 step that would take longer (no instructions for it) is measured on one image only


def say(words):
    print(f"peers: {words}", file=sys.stderr, flush=True)


class Log:
    def __init__(self, path, limit):
        self.file = open(path, "a", encoding="utf-8")
        self.limit = limit

    def run(self, call, needed=False, **about):
        """The result of a call, logged with what it is about; None if there is none."""
        label = " ".join(str(about[key]) for key in ("what", "program", "variant", "precision", "model", "batch", "prompts")
                         if key in about)
        line, why = last_line(*call, self.limit)
        result = json.loads(line) if line else None
        self.file.write(json.dumps({**about, **({"result": result} if line else {"skipped": why})}) + "\n")
        self.file.flush()
        if line:
            speed = f"{result['images_per_second']:.2f} images/s" if "images_per_second" in result else "done"
            say(f"round {about.get('round', 0)}: {label}: {speed}")
        elif needed:
            sys.exit(f"peers: {label}: {why}")
        else:
            say(f"*** SKIPPED: {label}: {why} ***")
        return result

    def skip(self, why, **about):
        self.file.write(json.dumps({**about, "skipped": why}) + "\n")
        say(f"*** SKIPPED: {' '.join(map(str, about.values()))}: {why} ***")


class Comparison:
    """All runs of one model."""

    def __init__(self, options, programs, log, entry):
        self.options, self.programs, self.log = options, programs, log
        self.model, batch, *own = entry.split(":")
        self.batch = int(batch)
        self.prompts = [int(p) for p in (own[0] if own else options.prompts).split(",")]
        self.main = MAIN_PROMPTS if MAIN_PROMPTS in self.prompts else self.prompts[0]
        self.is_vit = self.model.startswith("vit-")
        self.best = {}  # (program, form) -> the fastest variant
        self.speed = {}  # Variant -> images per second when tried
        self.bf16 = []  # programs whose autocast is worth whole batches
        self.onnx_files = {}  # (prompts, form) -> path

    def torch(self, what, variant, prompts, batch=None, round=0, steps=None, warmup=1):
        batch = batch or self.batch
        call = self.programs.torch(variant, self.model, batch, prompts, steps or self.options.steps, warmup)
        needed = variant == Variant("torch113", variant.form)
        result = self.log.run(call, needed, what=what, program=variant.program, variant=variant.name(), form=variant.form,
                              precision=variant.precision, model=self.model, batch=batch, prompts=prompts, round=round)
        return result

    def vitrine(self, what, prompts, round, batch=None, precision="f32", mode="full speed", more=()):
        batch = batch or self.batch
        if precision != "f32":
            more = (*more, "--precision", precision)
        call = self.programs.vitrine(what, self.model, batch, prompts, self.options.steps, 2, more)
        return self.log.run(call, True, what=what, program="vitrine", variant=mode, precision=precision, model=self.model,
                            batch=batch, prompts=prompts, round=round)

    def try_variants(self):
        """The fastest way of each PyTorch and form, once more with the other memory."""
        for program in self.programs.pythons:
            self.log.run(self.programs.check(program, self.model), True, what="check", program=program, model=self.model)
            for form in ("textbook", "kv"):
                for variant in variants(program, form, self.is_vit):
                    if self.options.compile or not variant.compiled:
                        self.try_variant(variant)
                self.try_variant(replace(self.fastest(program, form), keeps_memory=True))
                self.best[program, form] = self.fastest(program, form)
            self.try_bf16(program)

    def try_variant(self, variant):
        result = self.torch("tried", variant, self.main, steps=1)
        if result:
            self.speed[variant] = result["images_per_second"]

    def fastest(self, program, form):
        own = [v for v in self.speed if (v.program, v.form) == (program, form)]
        if not own:
            sys.exit(f"peers: {program}, {form}: no way to run it works; NO_NEWEST=1 goes without the newest")
        return max(own, key=self.speed.get)

    def try_bf16(self, program):
        """One image first: without instructions for bf16 a step takes minutes, and this measurement has to do."""
        variant = self.bf16_variant(program)
        result = self.torch("tried", variant, self.main, batch=1, steps=1, warmup=0)
        if not result:
            return
        if self.batch / result["images_per_second"] < SLOW_STEP:
            self.bf16.append(program)
        else:
            self.log.skip(f"slow on this processor: one image took {1 / result['images_per_second']:.1f} s, which stands "
                          "for all", what="step", program=program, precision="bf16", model=self.model)

    def bf16_variant(self, program):
        return replace(self.best[program, "textbook"], precision="bf16", compiled=False)

    def run_steps(self, round):
        for prompts in self.prompts:
            self.run_torch_steps("textbook", prompts, round)
            if self.options.vitrine:
                self.vitrine("step", prompts, round)
            self.run_torch_steps("kv", prompts, round)

    def run_torch_steps(self, form, prompts, round):
        """Both PyTorch's at the main number of prompts, and with more in the textbook form, where they may change places; else
        the faster of the two. With fewer prompts nothing is to be shown of PyTorch: one round tells."""
        if prompts < self.main and round > 1:
            return
        found = [variant for key, variant in self.best.items() if key[1] == form]
        both = prompts == self.main or (prompts > self.main and form == "textbook")
        for variant in found if both else [max(found, key=self.speed.get)]:
            self.torch("step", variant, prompts, round=round)

    def run_bf16(self, round):
        if not self.programs.vitrine_has("step", "--precision"):
            if self.options.vitrine and round == 1:
                self.log.skip("this vitrine has no --precision", what="step", program="vitrine", precision="bf16",
                              model=self.model)
            return
        self.vitrine("step", self.main, round, precision="bf16")
        for program in self.bf16:
            self.torch("step", self.bf16_variant(program), self.main, round=round)

    def run_saving(self, round):
        """What tune --memory-limit does: matrices packed once; then all blocks but the last computed again in backward."""
        if not self.options.vitrine or not self.is_vit:
            return
        depth = 12  # of both ViTs here
        for variant, more in (("packed once", ()), ("packed once, recomputed", ("--recompute", str(depth - 1)))):
            call = self.programs.vitrine("step", self.model, self.batch, self.main, self.options.steps, 2,
                                         ("--one-form", *more))
            self.log.run(call, what="step", program="vitrine", variant=variant, precision="f32", model=self.model,
                         batch=self.batch, prompts=self.main, round=round)

    def run_inference(self, round):
        if not self.is_vit:
            return
        for prompts in (0, self.main):
            for batch in (self.batch, 1):
                if self.options.vitrine:
                    self.vitrine("infer", prompts, round, batch)
                    if batch > 1 and self.programs.vitrine_has("infer", "--precision"):
                        self.vitrine("infer", prompts, round, batch, "bf16")
                for form in ("textbook", "kv") if self.options.newest else ():
                    self.run_onnx(prompts, form, batch, round)

    def run_onnx(self, prompts, form, batch, round):
        about = {"what": "infer", "program": "onnxruntime", "variant": form, "form": form, "precision": "f32",
                 "model": self.model, "batch": batch, "prompts": prompts, "round": round}
        if (prompts, form) not in self.onnx_files:
            path, why = last_line(*self.programs.export(self.model, prompts, form), self.options.limit)
            if why:
                self.log.skip(f"no ONNX file: {why}", **about)
                return
            self.onnx_files[prompts, form] = path
        self.log.run(self.programs.onnx(self.onnx_files[prompts, form], batch, self.options.steps, 2), **about)

    def run_round(self, round):
        self.run_steps(round)
        self.run_saving(round)
        self.run_bf16(round)
        self.run_inference(round)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("log", "vitrine", "python", "preload", "newest", "onnx-folder", "prompts"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("rounds", "steps", "threads", "limit", "compile"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("entries", nargs="+")
    options = parser.parse_args()
    programs, log = Programs(options), Log(options.log, options.limit)
    comparisons = [Comparison(options, programs, log, entry) for entry in options.entries]
    for comparison in comparisons:
        comparison.try_variants()
    for round in range(1, options.rounds + 1):
        if options.vitrine:
            for precision in ("f32", "bf16") if programs.vitrine_has("gemm", "--precision") else ("f32",):
                log.run(programs.gemm(precision), True, what="gemm", program="vitrine", precision=precision, round=round)
        for comparison in comparisons:
            comparison.run_round(round)


if __name__ == "__main__":
    main()
