#!/usr/bin/env bash
# ablations.sh: the paper's ablations of prompts: their length, the blocks that have them, where they meet the tokens, and
# what is pooled. All in one folder: a variant is a row of its own.
#
#   bench/studies/ablations.sh build/examples/vitrine suites/mini-vtab.toml OUT [options of vitrine sweep]
#
# For a ViT. DEPTH is its number of blocks (the built-in one's is 6), LENGTHS the prompt lengths.
set -euo pipefail
vitrine=${1:?usage: ablations.sh VITRINE SUITE OUT [OPTIONS...]} suite=${2:?} out=${3:?}
shift 3
depth=${DEPTH:-6} lengths=${LENGTHS:-1,5,10,50,100,200}
study() { "$vitrine" sweep --suite "$suite" --out "$out" "$@"; }

study --methods vpt-shallow,vpt-deep --prompts "$lengths" "$@"
for last in $(seq 1 $((depth - 1))); do study --methods vpt-deep --prompt-blocks "1-$last" "$@"; done
for first in $(seq 2 "$depth"); do study --methods vpt-deep --prompt-blocks "$first-$depth" "$@"; done
study --methods vpt-deep --prompt-shared "$@"
study --methods vpt-shallow,vpt-deep --prompt-location add "$@"
study --methods vpt-shallow --prompt-location pixels "$@"
for pooled in images prompts all; do study --methods vpt-deep --prompt-pooling "$pooled" "$@"; done
"$vitrine" table "$out" --by prompts --out "$out/by-prompts.md"
"$vitrine" table "$out" --out "$out/variants.md"
