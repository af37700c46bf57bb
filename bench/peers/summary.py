#!/usr/bin/python3
"""summary.py: makes rounds.py's log into one line of JSON: medians, spreads, every ratio, the aims.

    summary.py LOG [name=value...]      the pairs are copied

Per model: `speeds` (images per second of each program and variant: median, min and max over the rounds), `tried` (the one
step that each way of running PyTorch had), `ratios` and `memory`. A ratio is Vitrine's median over the other's (above 1:
Vitrine is faster) with the range of the rounds' own ratios, or null where one of the two is missing; `skipped` names
every run that is missing, and why. `peak` is the machine's, `aims` what is to be reached, `void` why nothing counts.
Fails when Debian's PyTorch ran with another BLAS than the OpenMP build of OpenBLAS.
"""
import json
import statistics
import sys

from aims import judge


def spread(values, digits=4):
    return {"median": round(statistics.median(values), digits), "min": round(min(values), digits),
            "max": round(max(values), digits)}


def check_blas(result):
    libraries = result.get("blas", [])
    if not libraries or not all("openblas-openmp" in path for path in libraries):
        sys.exit(f"summary: expected Debian's PyTorch to load OpenBLAS (OpenMP) only, got {libraries}")


class Runs:
    """The runs of one model that have a result."""

    def __init__(self, runs, model):
        self.all = [run for run in runs if run.get("model") == model and "result" in run]

    def of(self, **wanted):
        return [run for run in self.all if all(run.get(key) == value for key, value in wanted.items())]

    def speeds(self, **wanted):
        """Round -> images per second; of several variants the one with the best median."""
        found = {}
        for run in self.of(**wanted):
            found.setdefault((run["program"], run["variant"]), {})[run["round"]] = run["result"]["images_per_second"]
        return max(found.values(), key=lambda rounds: statistics.median(rounds.values()), default={})

    def ratio(self, own, other, other_runs=None):
        """Of two choices of runs, as speeds() takes them."""
        a, b = self.speeds(**own), (other_runs or self).speeds(**other)
        if not a or not b:
            return None
        pairs = [a[r] / b[r] for r in a if r in b] or [statistics.median(a.values()) / statistics.median(b.values())]
        return {"ratio": round(statistics.median(a.values()) / statistics.median(b.values()), 3),
                "min": round(min(pairs), 3), "max": round(max(pairs), 3)}


def own(what, prompts, **more):
    return {"what": what, "program": "vitrine", "variant": "full speed", "prompts": prompts, "precision": "f32", **more}


# What a step may do to need less memory.
SAVING = ("packed once", "packed once, recomputed")


def step_ratios(runs, prompts, main):
    ratios = {}
    for p in prompts:
        for form in ("textbook", "kv"):
            other = {"what": "step", "form": form, "prompts": p, "precision": "f32"}
            best = [run["program"] for run in runs.of(**other)]
            for program in sorted(set(best)):
                ratios[f"step p{p} f32 over {program} {form}"] = runs.ratio(own("step", p), {**other, "program": program})
            ratios[f"step p{p} f32 over the best {form}"] = runs.ratio(own("step", p), other)
    autocast = {"what": "step", "form": "textbook", "prompts": main, "precision": "bf16"}
    if not runs.of(**autocast):  # too slow for the rounds
        autocast["what"] = "tried"
    ratios[f"step p{main} bf16 over the best bf16 autocast"] = runs.ratio(own("step", main, precision="bf16"), autocast)
    ratios[f"step p{main} bf16 over f32"] = runs.ratio(own("step", main, precision="bf16"), own("step", main))
    # Times: above 1 means that more prompts cost more.
    ratios[f"step time p{max(prompts)} over p{min(prompts)}"] = runs.ratio(own("step", min(prompts)),
                                                                           own("step", max(prompts)))
    for saving in SAVING:
        ratios[f"step p{main} {saving} over full speed"] = runs.ratio({**own("step", main), "variant": saving},
                                                                     own("step", main))
    return ratios


def infer_ratios(runs, batches, main):
    ratios = {}
    for batch in batches:
        for p in (0, main):
            other = {"what": "infer", "program": "onnxruntime", "prompts": p, "batch": batch}
            for form in ("textbook", "kv"):
                ratios[f"infer p{p} batch {batch} over ONNX Runtime {form}"] = runs.ratio(
                    own("infer", p, batch=batch), {**other, "form": form})
            ratios[f"infer p{p} batch {batch} over the best ONNX Runtime"] = runs.ratio(own("infer", p, batch=batch), other)
        ratios[f"infer time p{main} over p0, batch {batch}"] = runs.ratio(own("infer", 0, batch=batch),
                                                                          own("infer", main, batch=batch))
    return ratios


def memory(runs, main, batch):
    """Peaks of whole processes in bytes, and Vitrine's share of PyTorch's least, with and without what its imports take."""
    summary = {}
    for mode in ("full speed", *SAVING):
        peaks = [run["result"]["peak_rss_bytes"] for run in runs.of(**{**own("step", main), "variant": mode})]
        summary[f"vitrine, {mode}"] = max(peaks, default=None)
    for form in ("textbook", "kv"):
        found = [run["result"] for run in runs.of(form=form, prompts=main, precision="f32", batch=batch)
                 if run["what"] in ("tried", "step")]
        if not found:
            continue
        whole = min(r["peak_rss_bytes"] for r in found)
        less = min(r["peak_rss_bytes"] - r["rss_after_import_bytes"] for r in found)
        summary[f"pytorch {form}"] = whole
        summary[f"pytorch {form}, less its imports"] = less
        for mode in ("full speed", *SAVING):
            mine = summary[f"vitrine, {mode}"]
            summary[f"share of {form}, {mode}"] = round(mine / whole, 3) if mine else None
            summary[f"share of {form} less its imports, {mode}"] = round(mine / less, 3) if mine else None
    return summary


def gemm_shares(runs):
    """Of one number of threads and one precision."""
    shapes = [f"{s['model']} {s['layer']} {s['m']}x{s['n']}x{s['k']}" for s in runs[0]["shapes"]] if runs else []
    return {name: spread([run["shapes"][i]["share_of_peak"] for run in runs]) for i, name in enumerate(shapes)}


def peak_of(runs):
    """The peaks in f32 by threads, and what share of them the products reach: spreads over the rounds."""
    found = {}  # threads -> precision -> runs
    for run in runs:
        for one in run["result"]["runs"] if run["what"] == "gemm" and "result" in run else []:
            own = found.setdefault(str(one["threads"]), {"f32": [], "bf16": []})
            if one.get("arithmetic", "f32") == run["precision"]:  # where nothing multiplies bf16, its share has no peak
                own[run["precision"]].append(one)
    return {threads: {"peak_flops": spread([one["peak_flops"] for one in own["f32"]], 0),
                      "instructions": own["f32"][-1]["instructions"], "nominal": own["f32"][-1]["nominal"],
                      "share_of_nominal": spread([one["share_of_nominal"] for one in own["f32"]]),
                      "gemm_share_of_peak": {precision: gemm_shares(all_of) for precision, all_of in own.items()}}
            for threads, own in found.items()}


def shares_of_peak(runs, kind, peak, threads):
    """What share of the peak a step or pass uses, by prompts: the products' operations over time and peak."""
    shares = {}
    for run in runs.of(what=kind, program="vitrine", variant="full speed", precision="f32"):
        r = run["result"]
        if "multiply_accumulates" in r and threads in peak:
            flops = 2 * r["multiply_accumulates"] / r["batch"] * r["images_per_second"]
            shares.setdefault(f"p{r['prompts']} batch {r['batch']}", []).append(flops / peak[threads]["peak_flops"]["median"])
    return {name: spread(values) for name, values in shares.items()}


def model_summary(runs, peak, threads):
    steps = runs.of(what="step")
    prompts = sorted({run["prompts"] for run in steps})
    batch = max(run["batch"] for run in steps)
    main = runs.of(what="tried")[0]["prompts"]
    speeds = {}
    for run in runs.all:
        if run["what"] in ("step", "infer"):
            name = f"{run['what']} p{run['prompts']} batch {run['batch']} {run['precision']}: {run['program']}, {run['variant']}"
            speeds.setdefault(name, []).append(run["result"]["images_per_second"])
    batches = sorted({run["batch"] for run in runs.of(what="infer")}, reverse=True)
    return {"batch": batch, "prompts": prompts, "main_prompts": main,
            "speeds": {name: spread(values) for name, values in speeds.items()},
            "tried": {f"{run['program']}, {run['variant']}, {run['precision']}, batch {run['batch']}":
                      run["result"]["images_per_second"] for run in runs.of(what="tried")},
            "ratios": {**step_ratios(runs, prompts, main), **infer_ratios(runs, batches, main)},
            "share_of_peak": {kind: shares_of_peak(runs, kind, peak, threads) for kind in ("step", "infer")},
            "memory": memory(runs, main, batch)}


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: summary.py LOG [name=value...]")
    with open(sys.argv[1], encoding="utf-8") as log:
        runs = [json.loads(line) for line in log]
    output = dict(pair.split("=", 1) for pair in sys.argv[2:])
    output["skipped_newest"] = output.get("skipped_newest") or None
    for run in runs:
        result = run.get("result", {})
        if run.get("program") == "torch113" and "blas" in result:
            check_blas(result)
        if "torch" in result:
            output[f"version_{run['program']}"] = f"{result['torch']}, kernels for {result['cpu_capability']}"
        if "onnxruntime" in result:
            output["version_onnxruntime"] = result["onnxruntime"]
    output["peak"] = peak_of(runs)
    models = dict.fromkeys(run["model"] for run in runs if "model" in run)
    output["models"] = {model: model_summary(Runs(runs, model), output["peak"], output["threads"]) for model in models}
    skipped = [{key: value for key, value in run.items() if key != "form"} for run in runs if "skipped" in run]
    output["skipped"] = [" ".join(str(run[key]) for key in run if key != "skipped") + ": " + run["skipped"] for run in skipped]
    output["aims"], output["void"] = judge(output)
    print(json.dumps(output))


if __name__ == "__main__":
    main()
