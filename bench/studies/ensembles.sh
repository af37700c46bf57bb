#!/usr/bin/env bash
# ensembles.sh: the paper's ensembles of prompts: on each task the seeds of VPT-deep one by one, and asked together.
#
#   bench/studies/ensembles.sh build/examples/vitrine suites/mini-vtab.toml OUT [options of vitrine sweep]
#
# MEMBERS is their number (the paper's: 5), two or more. OUT/ensembles.md is the table; task files stay in OUT/runs.
set -euo pipefail
usage="usage: ensembles.sh VITRINE SUITE OUT [OPTIONS...]"
vitrine=${1:?$usage} suite=${2:?$usage} out=${3:?$usage}
shift 3
count=${MEMBERS:-5}
((count > 1)) || { echo "ensembles.sh: MEMBERS=$count: an ensemble has two or more" >&2; exit 1; }
options=() asking=()  # those of the sweep, and what of them holds for asking the members, too
while (($# > 0)); do
  case $1 in
    --seeds) : "${2:?$usage}"; shift 2 ;;  # these are the members
    --seeds=*) shift ;;
    --threads | --max-bad | --device | --workers | --instructions) asking+=("$1" "${2:?$usage}"); options+=("$1" "$2"); shift 2 ;;
    --threads=* | --max-bad=* | --device=* | --workers=* | --instructions=*) asking+=("$1"); options+=("$1"); shift ;;
    *) options+=("$1"); shift ;;
  esac
done
status=0  # 1: a task could not be used, or a run failed; the others are asked all the same
"$vitrine" sweep --suite "$suite" --out "$out" --methods vpt-deep --keep-tasks --seeds "$count" "${options[@]}" || status=$?
((status < 2)) || exit "$status"
# A line for each task and row of the table: its seeds, each by itself, and asked together.
rm -f "$out/ensembles.md"
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
"$vitrine" table "$out" --runs --format json >"$made/runs.json"
python3 - "$vitrine" "$count" "$made/runs.json" "${asking[@]}" <<'PYTHON' >"$made/ensembles.md"
import json, subprocess, sys

vitrine, count, runs, *asking = sys.argv[1:]
cells, without = {}, 0
for run in json.load(open(runs)):
    if run["stage"] != "final" or not run["row"] or run["method"].split(" ")[0] != "vpt-deep" or run["score"] is None:
        continue
    cells.setdefault((run["task"], run["row"], run["train_images"], run["data"]), []).append(run["task_file"])
    without += not run["task_file"]
if without:
    sys.exit(f"ensembles.sh: {without} runs have no task file: results that came with a ledger bring none, and runs without "
             "--keep-tasks left none. Take another folder, or move theirs and the ledger away")
kinds = {cell[1:3] for cell in cells}
print("| task | members | mean of the members | the best of them | the ensemble |\n|---|---|---|---|---|")
for (task, row, images, data), files in cells.items():
    if len(files) < 2:
        continue
    if len(files) != int(count):
        print(f"ensembles.sh: {task}, {row}: {len(files)} seeds are there, not {count}", file=sys.stderr)
    members = [word for file in files for word in ("--task", file)]
    made = subprocess.run([vitrine, "eval", *members, "--data", data, "--split", "test", "--json", *asking],
                          stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    if made.returncode != 0:
        sys.exit(f"ensembles.sh: {task}: its members could not be asked")
    said = json.loads(made.stdout)
    scores = [100 * member["accuracy"] for member in said["members"]]
    name = (task if len(kinds) == 1 else f"{task}, {row}, {images} images").replace("|", "\\|")
    print(f"| {name} | {len(scores)} | {sum(scores) / len(scores):.1f} | {max(scores):.1f} | {100 * said['accuracy']:.1f} |")
PYTHON
mv "$made/ensembles.md" "$out/ensembles.md"
cat "$out/ensembles.md"
exit "$status"
