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
options=() threads=()
while (($# > 0)); do
  case $1 in
    --seeds) : "${2:?$usage}"; shift 2 ;;  # these are the members
    --seeds=*) shift ;;
    --threads) threads=("$1" "${2:?$usage}"); options+=("$1" "$2"); shift 2 ;;
    --threads=*) threads=("$1"); options+=("$1"); shift ;;
    *) options+=("$1"); shift ;;
  esac
done
"$vitrine" sweep --suite "$suite" --out "$out" --methods vpt-deep --keep-tasks --seeds "$count" "${options[@]}"
{
  echo "| task | members | mean of the members | the best of them | the ensemble |"
  echo "|---|---|---|---|---|"
  # A line for each task and row of the table: the task, its data, and the task files of its seeds.
  "$vitrine" table "$out" --runs --format json | python3 -c '
import json, sys
cells = {}
for run in json.load(sys.stdin):
    if run["stage"] == "final" and run["row"] and run["task_file"] and run["method"].split(" ")[0] == "vpt-deep":
        cells.setdefault((run["task"], run["row"], run["train_images"], run["data"]), []).append(run["task_file"])
kinds = {cell[1:3] for cell in cells}
for (task, row, images, data), files in cells.items():
    if len(files) > 1:
        print(task if len(kinds) == 1 else f"{task}, {row}, {images} images".replace("|", "\\|"), data, *files, sep="\t")' | while IFS=$'\t' read -r -a cell; do
    members=()
    for file in "${cell[@]:2}"; do members+=(--task "$file"); done
    "$vitrine" eval "${members[@]}" --data "${cell[1]}" --split test "${threads[@]}" </dev/null | awk -v task="${cell[0]}" '
      /, loss [0-9.]+: / { sub(/^Members/, ""); ++n; sum += $1; if ($1 > best) best = $1 }
      /^Accuracy/ { together = $2 }
      END { printf "| %s | %d | %.1f | %.1f | %.1f |\n", task, n, sum / n, best, together }'
  done
} >"$out/ensembles.md"
cat "$out/ensembles.md"
