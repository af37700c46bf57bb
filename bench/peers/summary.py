#!/usr/bin/python3
"""summary.py: makes run.sh's log of runs into one line of JSON: medians, spreads and ratios.

    summary.py LOG [name=value...]      LOG holds lines {"what", "model", "round", "result"}; the pairs are copied

A model is an entry of run.sh's MODELS by its name there: vit-b16, or swin-t:8:10 with its batch and prompts.
Per model and program: median, min and max of images per second over the rounds, peak memory. Per model and form of the
peer: `ratio` = Vitrine's median over the peer's (above 1: Vitrine is faster) and the range of the rounds' own ratios.
Fails when a peer ran with another BLAS than the OpenMP build of OpenBLAS.
"""
import json
import statistics
import sys


def spread(values):
    return {"median": round(statistics.median(values), 4), "min": round(min(values), 4), "max": round(max(values), 4)}


def check_blas(result):
    libraries = result.get("blas", [])
    if not libraries or not all("openblas-openmp" in path for path in libraries):
        sys.exit(f"summary: expected PyTorch to load OpenBLAS (OpenMP) only, got {libraries}")


def program_summary(results):
    summary = {"images_per_second": spread([r["images_per_second"] for r in results]), "batch": results[0].get("batch")}
    if "peak_rss_mb" in results[0]:
        summary["peak_rss_mb"] = max(r["peak_rss_mb"] for r in results)
        summary["rss_after_import_mb"] = max(r["rss_after_import_mb"] for r in results)
    if "peak_bytes" in results[0]:
        summary["peak_bytes"] = max(r["peak_bytes"] for r in results)
    return summary


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: summary.py LOG [name=value...]")
    with open(sys.argv[1], encoding="utf-8") as log:
        runs = [json.loads(line) for line in log]
    output = dict(pair.split("=", 1) for pair in sys.argv[2:])
    output["models"] = {}
    for model in dict.fromkeys(run["model"] for run in runs):
        by_program = {}
        for run in runs:
            if run["model"] == model:
                by_program.setdefault(run["what"], []).append(run["result"])
                if run["what"].startswith("pytorch"):
                    check_blas(run["result"])
                    output["torch"], output["blas"] = run["result"]["torch"], run["result"]["blas"]
                    output["torch_cpu_capability"] = run["result"]["cpu_capability"]
        summary = {program: program_summary(results) for program, results in by_program.items()}
        for form in ("textbook", "kv"):
            peer, own = by_program.get("pytorch_" + form), by_program.get("vitrine")
            if not peer or not own:
                continue
            pairs = [a["images_per_second"] / b["images_per_second"] for a, b in zip(own, peer)]
            medians = [summary[name]["images_per_second"]["median"] for name in ("vitrine", "pytorch_" + form)]
            summary["vitrine_over_" + form] = {"ratio": round(medians[0] / medians[1], 3),
                                               "min": round(min(pairs), 3), "max": round(max(pairs), 3)}
        output["models"][model] = summary
    print(json.dumps(output))


if __name__ == "__main__":
    main()
