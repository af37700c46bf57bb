#!/usr/bin/env bash
# photographs.sh: the four methods that the paper is about on four tasks of photographs, with DeiT-Tiny.
#
#   ASSETS=FOLDER bench/studies/photographs.sh build/examples/vitrine deit_tiny_patch16_224.safetensors OUT [options of vitrine sweep]
#
# FOLDER has the pictures (suites/photographs.toml). With LEDGERS=bench/results only what is not among the committed results is
# run. Heads are searched; the others have one setting each, because one run of theirs takes up to three quarters of an hour.
set -euo pipefail
usage="usage: photographs.sh VITRINE BACKBONE OUT [OPTIONS...]"
vitrine=${1:?$usage} backbone=${2:?$usage} out=${3:?$usage}
shift 3
sweep() {
  "$vitrine" sweep --suite "$(dirname "${BASH_SOURCE[0]}")/../../suites/photographs.toml" --backbone "$backbone" --backbone-config deit \
    --out "$out" --seeds 1 ${LEDGERS:+--ledger "$LEDGERS/photographs.jsonl"} "$@"
}
sweep --methods linear "$@"
sweep --methods vpt-shallow --prompts 20 --lr 5e-3 --epochs 6 --warmup 1 "$@"
sweep --methods vpt-deep --prompts 20 --lr 2e-3 --epochs 6 --warmup 1 "$@"
sweep --methods full --lr 1e-4 --epochs 6 --warmup 1 "$@"
"$vitrine" table "$out" --out "$out/table.md"
cat "$out/table.md"
