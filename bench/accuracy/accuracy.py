#!/usr/bin/python3
"""accuracy.py: the accuracy table of a backbone on a task: search on a validation part, test once per seed.

Each method searches its own grid on 800 training and 200 validation images (the 1,000 of VTAB's protocol); the best
validation accuracy of the last epoch wins, the earlier line of the grid among equals. Then every seed trains on all 1,000
images with these settings and is tested once. Everything goes through the `vitrine` program; each run's JSON is one
line of OUT/runs.jsonl, and a run that stands there is not done again. UNTRAINED in a grid stands for the built-in net's
fresh weights.

  bench/accuracy/accuracy.py --vitrine build/examples/vitrine --data fashion-mnist:DIR --grid bench/accuracy/fashion.json --out OUT
"""
import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--vitrine", default="build/examples/vitrine")
parser.add_argument("--data", required=True, help="data specification, as vitrine tune takes it")
parser.add_argument("--grid", required=True, help="JSON: method name -> {always: options, try: [options, ...]}")
parser.add_argument("--out", required=True, help="folder for runs.jsonl and table.md")
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--limit", type=int, default=1000)
parser.add_argument("--val", type=int, default=200)
parser.add_argument("--only", help="comma-separated methods of the grid")
arguments = parser.parse_args()

out = Path(arguments.out)
out.mkdir(parents=True, exist_ok=True)
log = out / "runs.jsonl"
known = {}
if log.exists():
    known = {line["key"]: line for line in map(json.loads, log.read_text().splitlines())}


def run(name, options, stage):
    """One `vitrine tune`; returns its JSON result, from the log if it was done before."""
    key = f"{name} | {options} | {stage}"
    if key in known:
        return known[key]
    folder = out / "folder"
    subprocess.run(["rm", "-rf", folder], check=True)
    if "UNTRAINED" in options and not (out / "untrained.safetensors").exists():
        subprocess.run([arguments.vitrine, "pretrain", "--steps", "0", "--f32", "--out", out / "untrained.safetensors"], check=True)
    options = options.replace("UNTRAINED", str(out / "untrained.safetensors"))
    command = [arguments.vitrine, "tune", "--data", arguments.data, "--train-limit", str(arguments.limit), "--json",
               "--out", str(folder)] + options.split() + stage.split()
    start = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 3):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")
    result = {"key": key, "name": name, "options": options, "stage": stage, "wall": round(time.time() - start, 1)}
    if done.returncode == 3:
        result["diverged"] = True
    else:
        result.update(json.loads(done.stdout.strip().splitlines()[-1]))
    with log.open("a") as lines:
        lines.write(json.dumps(result) + "\n")
    known[key] = result
    score = "diverged" if result.get("diverged") else {k: round(result[k]["accuracy"], 4) for k in ("train", "val", "test") if k in result}
    print(f"{name:12} {options} {stage} -> {score} in {result['wall']} s", flush=True)
    return result


rows = []
for name, grid in json.loads(Path(arguments.grid).read_text()).items():
    if arguments.only and name not in arguments.only.split(","):
        continue
    tried = []
    for choice in grid["try"]:
        options = f"{grid['always']} {choice}".strip()
        result = run(name, options, f"--val {arguments.val} --no-test --seed 0")
        tried.append((-1 if result.get("diverged") else result["val"]["accuracy"], options))
    best = max(tried, key=lambda pair: pair[0])  # max keeps the first of equals
    finals = [run(name, best[1], f"--val 0 --seed {seed}") for seed in range(arguments.seeds)]
    tests = [100 * final["test"]["accuracy"] for final in finals]
    rows.append((name, best, tests, finals[0], len(tried)))

table = ["| method | test accuracy, % (mean ± deviation over seeds) | seeds | tuned | settings chosen | tried | validation, % | training, s |",
         "|---|---|---|---|---|---|---|---|"]
for name, (validation, options), tests, final, tried in rows:
    spread = statistics.stdev(tests) if len(tests) > 1 else 0
    trained = final["trained_parameters"]
    count = trained if isinstance(trained, int) else sum(v for v in trained.values() if isinstance(v, int))
    table.append(f"| {name} | {statistics.mean(tests):.2f} ± {spread:.2f} | {', '.join(f'{t:.2f}' for t in tests)} | {count:,} | "
                 f"`{options}` | {tried} | {100 * validation:.1f} | {final['seconds']:.0f} |")
(out / "table.md").write_text("\n".join(table) + "\n")
print("\n".join(table))
