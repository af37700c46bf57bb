#!/usr/bin/env python3
"""report.py: makes what the stages left into a page and one object of JSON. A part of run.sh.

    report.py FOLDER OUT [ROUNDS]    reads machine.json and *.jsonl in FOLDER; writes OUT/<gpu>.md and .json
"""
import json
import re
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "peers"))
import steps  # noqa: E402
from aims import aim  # noqa: E402
from lines import Lines, say  # noqa: E402
from summary import spread  # noqa: E402
from table import number, rows  # noqa: E402

STAGES = ("vit-b", "rest")
GPU_OF_AIMS = "H100"
MAIN = ("vit-b16", 128, 50)
SMALL = ("vit-b16", 16, 50)
WORST = 12  # kernels named for the time that they lose


def ratio(own, other):
    """Of two dicts, round -> images per second."""
    pairs = [own[r] / other[r] for r in own if r in other]
    return {"ratio": round(statistics.median(own.values()) / statistics.median(other.values()), 3),
            "min": round(min(pairs), 3), "max": round(max(pairs), 3)}


class Comparison:
    """What is known of one model with one batch and number of prompts."""

    def __init__(self, lines):
        self.sessions = {}  # session -> program -> round -> result
        self.skipped = {}
        for line in lines:
            if "skipped" in line:
                self.skipped[line["program"]] = line["skipped"]
            else:
                programs = self.sessions.setdefault(line["session"], {})
                programs.setdefault(line["program"], {})[line["round"]] = line["result"]

    def session_of(self, program):
        """The one with most of its rounds; the latest of several."""
        found = [s for s in self.sessions if program in self.sessions[s]]
        return max(reversed(found), key=lambda s: len(self.sessions[s][program]), default=None)

    def speeds(self, session, program):
        return {r: result["images_per_second"] for r, result in self.sessions[session].get(program, {}).items()}

    def summary(self):
        programs, ratios = {}, {}
        every = list(dict.fromkeys(p for found in self.sessions.values() for p in found))
        ours = [p for p in every if p not in steps.TORCH]
        for program in every:
            session = self.session_of(program)
            results = list(self.sessions[session][program].values())
            last = results[-1]
            programs[program] = {
                "images_per_second": spread([r["images_per_second"] for r in results], 2), "rounds": len(results),
                "steps": len(last["seconds_per_step"]),
                "slowest_step": round(min(r["images_per_second_min"] for r in results), 2),
                "fastest_step": round(max(r["images_per_second_max"] for r in results), 2),
                "peak_bytes": max((r["peak_bytes"] or 0 for r in results)) or None,
                **{key: last[key] for key in ("torch", "cuda", "cudnn") if key in last},
                **{key: r[key] for r in results for key in ("profile", "profile_failed") if key in r}}
            if program in steps.TORCH:
                for own in ours:
                    if own in self.sessions[session]:
                        ratios[f"{own} over {program}"] = ratio(self.speeds(session, own), self.speeds(session, program))
        return {"programs": programs, "ratios": ratios, "skipped": self.skipped}


def best_speed(found, ours):
    return max((found["programs"][own]["images_per_second"]["median"] for own in ours if own in found["programs"]),
               default=None)


def least_ratio(found, ours, others):
    """Of the fastest of ours over the fastest of the others that were measured beside it."""
    of_ours = [min((found["ratios"][f"{own} over {other}"]["ratio"] for other in others
                    if f"{own} over {other}" in found["ratios"]), default=None) for own in ours]
    return max((r for r in of_ours if r is not None), default=None)


def aims(found, ours):
    nothing = {"programs": {}, "ratios": {}}
    main, small = (found.get(key, nothing) for key in (MAIN, SMALL))
    published, same = (steps.COMPILED, steps.TUNED), (steps.COMPILED_KV, steps.TUNED_KV)
    name = "ViT-B/16, 50 prompts, batch"
    return [aim(f"{name} 128: images per second", best_speed(main, ours), 6500, True),
            aim(f"{name} 128: over torch.compile, published algorithm", least_ratio(main, ours, published), 1.6, True),
            aim(f"{name} 128: over torch.compile, same algebra", least_ratio(main, ours, same), 1.25, True),
            aim(f"{name} 16: over eager PyTorch", least_ratio(small, ours, (steps.EAGER, steps.AUTOCAST)), 2.0, True)]


def unmeasured(sizes, lines, kernels, tests, rounds):
    missing = []
    if not tests:
        missing.append("the stage `tests`")
    elif all(line["tool"] == "none" for line in tests):
        missing.append("the tests under compute-sanitizer")
    if not kernels:
        missing.append("the stage `kernels`")
    elif not any(line["kernel"].startswith("probe") for line in kernels):
        missing.append("the stage `kernels`: its end")
    missing += [f"{line['kernel']}: {line['failed']}" for line in kernels if "failed" in line]
    for stage in STAGES:
        for c in steps.comparisons(stage, sizes):
            for program in (*c.ours, *c.torch):
                found = steps.of(lines, c, program)
                if not found:
                    missing.append(f"{c.name()}: {program}")
                elif any("skipped" in line for line in found):
                    missing += [f"{c.name()}: {program}: {line['skipped']}" for line in found if "skipped" in line][-1:]
                elif not steps.has(lines, c, program, rounds):
                    missing.append(f"{c.name()}: {program}: fewer than {rounds} rounds")
    return missing


def newest(lines, *keys):
    """The last line of each thing that was measured."""
    return list({tuple(line[key] for key in keys): line for line in lines}.values())


def summary(folder, rounds):
    machine = json.loads((folder / "machine.json").read_text(encoding="utf-8"))
    lines = {name: Lines(folder / f"{name}.jsonl") for name in ("tests", "kernels", "steps")}
    tests, kernels = newest(lines["tests"].all, "test", "tool"), newest(lines["kernels"].all, "kernel")
    keys = list(dict.fromkeys((line["model"], line["batch"], line["prompts"]) for line in lines["steps"].all))
    found = {key: Comparison([line for line in lines["steps"].all
                              if (line["model"], line["batch"], line["prompts"]) == key]).summary() for key in keys}
    ours = list(dict.fromkeys([*steps.OURS, *(p for one in found.values() for p in one["programs"] if p not in steps.TORCH)]))
    void = []
    if machine["device"].startswith("emulator"):
        void.append("it was made on the emulator of a GPU, with tiny sizes" if machine["sizes"] == "tiny" else
                    "it was made on the emulator of a GPU")
    elif machine["sizes"] == "tiny":
        void.append("its sizes are tiny")
    return {"void": void, "machine": machine,
            "tests": {"passed": sum(t["passed"] for t in tests), "failed": sum(not t["passed"] for t in tests), "all": tests},
            "kernels": kernels,
            "steps": [{"model": m, "batch": b, "prompts": p, **found[m, b, p]} for m, b, p in keys],
            "aims": aims(found, ours), "aims_are_for": GPU_OF_AIMS,
            "unmeasured": unmeasured(machine["sizes"], lines["steps"], kernels, tests, rounds)}


# --- the page ---


def kernel_row(line):
    if "failed" in line:
        return [line["kernel"].split(": ", 1)[1], "failed", "", "", "", line["failed"]]
    around = 50 * (line["seconds_most"] - line["seconds_least"]) / line["seconds"]
    notes = [line.get("made_by", ""), "" if line["beyond_cache"] else "in the cache",
             "" if line["recorded"] else "not recorded: with the cost of launches"]
    return [line["kernel"].split(": ", 1)[1], f"{1e6 * line['seconds']:.2f} (+- {around:.1f}%)",
            f"{line['bytes_per_second'] / 1e9:.0f}", f"{line['flops_per_second'] / 1e12:.1f}" if line["flops"] else "",
            f"{100 * line['share_of_floor']:.0f}" if "share_of_floor" in line else "", "; ".join(filter(None, notes))]


def kernel_page(kernels):
    page, groups = ["## Kernels", ""], dict.fromkeys(line["group"] for line in kernels if line["group"] != "probe")
    page += ["A floor is the time in which the measured bandwidth moves what a kernel has to move, or the measured peak computes",
             "it, whichever is longer; a share is the floor's in the kernel's time.", ""]
    lost = sorted((line for line in kernels if "floor_seconds" in line),
                  key=lambda line: line["floor_seconds"] - line["seconds"])[:WORST]
    page += rows(["loses most time over its floor", "us", "% of the floor"],
                 [[line["kernel"], f"{1e6 * (line['seconds'] - line['floor_seconds']):.1f}",
                   f"{100 * line['share_of_floor']:.0f}"] for line in lost])
    for group in groups:
        page += [f"### {group}", ""]
        page += rows(["kernel", "us (half of the range)", "GB/s", "TFLOP/s", "% of the floor", ""],
                     [kernel_row(line) for line in kernels if line["group"] == group])
    for line in kernels:
        if line["group"] == "probe":
            page += ["A product's gelu of -3 (erf: -0.00405, tanh: -0.00364): "
                     + "; ".join(f"asked for {form}: {line[form]['value']:.5f}, {line[form]['is']}"
                                 + (f", by {line[form]['made_by']}" if "made_by" in line[form] else "")
                                 for form in ("erf", "tanh")) + ".", ""]
    return page


def step_page(one):
    page = [f"### {one['model']}, batch {one['batch']}, {one['prompts']} prompts", ""]
    page += rows(["program", "images/s (range of the rounds)", "slowest and fastest step", "peak memory", "attention"],
                 [[name, number(p["images_per_second"], 1), f"{p['slowest_step']:.1f} to {p['fastest_step']:.1f}",
                   f"{p['peak_bytes'] / 2**30:.2f} GiB" if p["peak_bytes"] else "",
                   p.get("profile", {}).get("sdpa", "")] for name, p in one["programs"].items()])
    page += rows(["ratio", "of medians (range of the rounds)"], [[name, number(r)] for name, r in one["ratios"].items()])
    for name, p in one["programs"].items():
        if "profile" in p:
            page += [f"Most of a step, {name} ({p['profile']['kernels']} kernels): "
                     + "; ".join(f"`{k['name'][:70]}` {100 * k['share']:.1f}%" for k in p["profile"]["top"][:6]) + ".", ""]
    return page


def page(s):
    machine, lines = s["machine"], []
    if s["void"]:
        lines += [f"**Nothing in this file is a measurement: {'; '.join(s['void'])}. It shows that the command works.**", ""]
    lines += [f"# Vitrine on {machine['gpu']}, {machine['date']}", "",
              "Made by `bench/gpu/run.sh`; the same as one object of JSON stands beside. `bench/gpu/README.md` says what is compared.", "",
              "Machine: " + "; ".join(f"{key} {value}" for key, value in machine.items() if value and key not in ("gpu", "date"))
              + ".", ""]
    versions = {f"PyTorch {p['torch']}, CUDA {p['cuda']}, cuDNN {p['cudnn']}" for one in s["steps"]
                for p in one["programs"].values() if "torch" in p}
    lines += [f"{version}." for version in sorted(versions)] + [""]
    state = {True: "yes", False: "**no**", None: "not measured"}
    if s["aims_are_for"] not in machine["gpu"]:
        state[True] = state[False] = "another GPU"
    lines += [f"## Aims, on an {s['aims_are_for']}", ""]
    lines += rows(["aim", "at least", "value", "met"],
                  [[a["aim"], str(a["at_least"]), "" if a["value"] is None else f"{a['value']:.2f}", state[a["met"]]]
                   for a in s["aims"]])
    tests = s["tests"]
    lines += ["## Tests", "", f"{tests['passed']} passed, {tests['failed']} failed.", ""]
    lines += [f"- FAILED: {t['test']} ({t['tool']})" for t in tests["all"] if not t["passed"]]
    if s["steps"]:
        lines += ["", "## Training steps", "",
                  "Forward, loss, backward and SGD's step; medians over rounds in which all programs of a table had their turns.", ""]
    for one in s["steps"]:
        lines += step_page(one)
    if s["kernels"]:
        lines += kernel_page(s["kernels"])
    if s["unmeasured"]:
        lines += ["## Not measured", "", *(f"- {what}" for what in s["unmeasured"])]
    return "\n".join(lines).rstrip() + "\n"


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: report.py FOLDER OUT [ROUNDS]")
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    s = summary(folder, int(sys.argv[3]) if len(sys.argv) == 4 else 3)
    name = re.sub(r"[^a-z0-9]+", "-", s["machine"]["gpu"].lower()).strip("-")
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(page(s), encoding="utf-8")
    (out / f"{name}.json").write_text(json.dumps(s, indent=1) + "\n", encoding="utf-8")
    say(f"written: {out / name}.md and .json")


if __name__ == "__main__":
    main()
