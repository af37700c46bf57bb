#!/usr/bin/env bash
# memory.sh: the table of docs/memory.md: what a training step needs, by model, method and recomputation.
#
#   bench/memory.sh build/examples/vitrine
set -eu

vitrine=${1:?usage: memory.sh PROGRAM}
echo '| model | method | weights | none: an image | batch 32 | half: an image | batch 32 | all but the last: an image | batch 32 |'
echo '|---|---|---:|---:|---:|---:|---:|---:|---:|'
for model in vit-ti16 vit-b16 swin-t; do
  for method in vpt-deep vpt-shallow linear full; do
    prompts=(--prompts 50)
    [[ $method == vpt-* ]] || prompts=()
    "$vitrine" bench memory --model $model --method $method "${prompts[@]}" --batch 32 --threads 8 --json 2>/dev/null |
      python3 -c '
import json, sys
j = json.load(sys.stdin)
mib = lambda b: f"{b / 2**20:,.1f}" if b < 100 * 2**20 else f"{b / 2**20:,.0f}"
prompts = ", %d prompts" % j["prompts"] if j["prompts"] else ""
cells = [j["model"], j["method"] + prompts, mib(j["modes"][0]["weights"])]
for mode in j["modes"]:
    cells += [mib(mode["per_image"]), mib(mode["peak"])]
print("| " + " | ".join(cells) + " |")'
  done
done
