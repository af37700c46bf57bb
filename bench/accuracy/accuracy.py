#!/usr/bin/python3
"""accuracy.py: the accuracy table of a backbone on a task: search on a validation part, test once per seed.

Each method searches its own grid on 800 training and 200 validation images (the 1,000 of VTAB's protocol); the best
validation accuracy of the last epoch wins, the earlier line of the grid among equals; a grid of one line needs no search.
Then every seed trains on all 1,000 images with these settings and is tested once. Everything goes through the `vitrine`
program; each run's JSON is one line of OUT/runs.jsonl, and a run that stands there is not done again. UNTRAINED in a grid
stands for the fresh weights of a net like the built-in one; --fresh tells its shape.

  bench/accuracy/accuracy.py --vitrine build/examples/vitrine --data fashion-mnist:DIR --grid bench/accuracy/fashion.json --out OUT
"""
import argparse
import json
import statistics
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--vitrine", default="build/examples/vitrine")
parser.add_argument("--backbone", default="builtin", help="for the methods whose options name none")
parser.add_argument("--data", required=True, help="data specification, as vitrine tune takes it")
parser.add_argument("--grid", required=True, help="JSON: method name -> {always: options, try: [options, ...]}")
parser.add_argument("--out", required=True, help="folder for runs.jsonl and table.md")
parser.add_argument("--fresh", default="", help="options of vitrine pretrain for UNTRAINED, such as '--model swin'")
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--limit", type=int, default=1000)
parser.add_argument("--val", type=int, default=200)
parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
parser.add_argument("--threads", type=int, default=2, help="processor threads of each")
parser.add_argument("--only", help="semicolon-separated methods of the grid")
arguments = parser.parse_args()

out = Path(arguments.out)
out.mkdir(parents=True, exist_ok=True)
log = out / "runs.jsonl"
known = {}
if log.exists():
    known = {line["key"]: line for line in map(json.loads, log.read_text().splitlines())}
writing = threading.Lock()
untrained = out / "untrained.safetensors"


def run(job):
    """One `vitrine tune` of (method, options, stage); returns its JSON result, from the log if it was done before."""
    name, options, stage = job
    key = f"{name} | {options} | {stage}"
    if key in known:
        return known[key]
    with tempfile.TemporaryDirectory(dir=out) as folder:
        command = [arguments.vitrine, "tune", "--data", arguments.data, "--train-limit", str(arguments.limit), "--json",
                   "--threads", str(arguments.threads), "--out", f"{folder}/run"]
        command += options.replace("UNTRAINED", str(untrained)).split() + stage.split()
        command += [] if "--backbone" in command else ["--backbone", arguments.backbone]
        start = time.time()
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 3):
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")
    result = {"key": key, "name": name, "options": options, "stage": stage, "wall": round(time.time() - start, 1)}
    if done.returncode == 3:
        result["diverged"] = True
    else:
        result.update(json.loads(done.stdout.strip().splitlines()[-1]))
    score = "diverged" if result.get("diverged") else {k: round(result[k]["accuracy"], 4) for k in ("train", "val", "test") if k in result}
    with writing:
        with log.open("a") as lines:
            lines.write(json.dumps(result) + "\n")
        print(f"{name:12} {options} {stage} -> {score} in {result['wall']} s", flush=True)
    return result


methods = json.loads(Path(arguments.grid).read_text())
if arguments.only:
    methods = {name: methods[name] for name in arguments.only.split(";")}
choices = {name: [f"{grid['always']} {choice}".strip() for choice in grid["try"]] for name, grid in methods.items()}
if "UNTRAINED" in str(choices) and not untrained.exists():
    subprocess.run([arguments.vitrine, "pretrain", *arguments.fresh.split(), "--steps", "0", "--f32", "--out", untrained], check=True)

with ThreadPoolExecutor(arguments.jobs) as pool:
    search = f"--val {arguments.val} --no-test --seed 0"
    jobs = [(name, options, search) for name, tried in choices.items() if len(tried) > 1 for options in tried]
    validation = {job[:2]: -1 if result.get("diverged") else result["val"]["accuracy"] for job, result in zip(jobs, pool.map(run, jobs))}
    best = {name: max(tried, key=lambda options: validation.get((name, options), 0)) for name, tried in choices.items()}  # the first of equals
    jobs = [(name, options, f"--val 0 --seed {seed}") for name, options in best.items() for seed in range(arguments.seeds)]
    finals = {}
    for job, result in zip(jobs, pool.map(run, jobs)):
        finals.setdefault(job[0], []).append(result)

table = ["| method | test accuracy, % (mean ± deviation over seeds) | seeds | tuned | settings chosen | tried | validation, % | training, s |",
         "|---|---|---|---|---|---|---|---|"]
for name, results in finals.items():
    tests = [100 * result["test"]["accuracy"] for result in results]
    spread = statistics.stdev(tests) if len(tests) > 1 else 0
    table.append(f"| {name} | {statistics.mean(tests):.2f} ± {spread:.2f} | {', '.join(f'{t:.2f}' for t in tests)} | "
                 f"{results[0]['trained_parameters']:,} | `{best[name]}` | {len(choices[name])} | "
                 f"{f'{100 * validation[name, best[name]]:.1f}' if len(choices[name]) > 1 else 'none'} | "
                 f"{statistics.mean(result['seconds'] for result in results):.0f} |")
(out / "table.md").write_text("\n".join(table) + "\n")
print("\n".join(table))
