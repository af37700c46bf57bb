#!/usr/bin/env bash
# ensembles.sh: the paper's ensembles of prompts: on each task the seeds of VPT-deep one by one, and asked together.
#
#   bench/studies/ensembles.sh build/examples/vitrine suites/mini-vtab.toml OUT [options of vitrine sweep]
#
# MEMBERS is their number (the paper's: 5). OUT/ensembles.md is the table; task files stay in OUT/runs. A name of a task or of
# its data may hold no quotes.
set -euo pipefail
vitrine=${1:?usage: ensembles.sh VITRINE SUITE OUT [OPTIONS...]} suite=${2:?} out=${3:?}
shift 3
options=()
while (($# > 0)); do
  case $1 in
    --seeds) shift 2 ;;  # these are the members
    --seeds=*) shift ;;
    *) options+=("$1"); shift ;;
  esac
done
"$vitrine" sweep --suite "$suite" --out "$out" --methods vpt-deep --keep-tasks --seeds "${MEMBERS:-5}" "${options[@]}"
{
  echo "| task | members | mean of the members | the best of them | the ensemble |"
  echo "|---|---|---|---|---|"
  final='s/^\{"ledger":1,"run":"([0-9a-f]+)","task":"([^"]*)",.*"data":"([^"]*)",.*"method":"vpt-deep",.*"stage":"final",.*/\1\t\2\t\3/p'
  sed -nE "$final" "$out/ledger.jsonl" | cut -f 2,3 | sort -u | while IFS=$'\t' read -r task data; do
    members=()
    while IFS=$'\t' read -r run of unused; do
      [[ $of == "$task" ]] && members+=(--task "$out/runs/$run/task.safetensors")
    done < <(sed -nE "$final" "$out/ledger.jsonl")
    ((${#members[@]} > 2)) || continue  # a run that diverged has no task
    "$vitrine" eval "${members[@]}" --data "$data" --split test </dev/null | awk -v task="$task" '
      /, loss [0-9.]+: / { sub(/^Members/, ""); ++n; sum += $1; if ($1 > best) best = $1 }
      /^Accuracy/ { together = $2 }
      END { printf "| %s | %d | %.1f | %.1f | %.1f |\n", task, n, sum / n, best, together }'
  done
} >"$out/ensembles.md"
cat "$out/ensembles.md"
