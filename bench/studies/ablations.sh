#!/usr/bin/env bash
# ablations.sh: the paper's ablations of prompts: their length, the blocks that have them, sharing, where they meet the
# tokens, how they start, what is pooled, projection, dropout, and ensembles. A variant is a row of its own, with as many
# prompts as the recipe has (quick: 10). Lengths are in OUT/lengths, ensembles in OUT/ensembles.
#
#   bench/studies/ablations.sh build/examples/vitrine suites/mini-vtab.toml OUT [options of vitrine sweep]
#
# For a ViT with a class token. DEPTH is its number of blocks (the built-in one's is 6), LENGTHS the prompt lengths,
# PROJECTIONS the widths of projected prompts, DROPOUTS the shares that are left out, MEMBERS the seeds in an ensemble.
set -euo pipefail
usage="usage: ablations.sh VITRINE SUITE OUT [OPTIONS...]"
vitrine=${1:?$usage} suite=${2:?$usage} out=${3:?$usage}
shift 3
depth=${DEPTH:-6} lengths=${LENGTHS:-1,5,10,50,100,200}
study() { "$vitrine" sweep --suite "$suite" --out "$out" "$@"; }

"$vitrine" sweep --suite "$suite" --out "$out/lengths" --methods vpt-shallow,vpt-deep --prompts "$lengths" "$@"
study --methods vpt-shallow,vpt-deep "$@"
for last in $(seq 1 $((depth - 1))); do study --methods vpt-deep --prompt-blocks "1-$last" "$@"; done
for first in $(seq 2 "$depth"); do study --methods vpt-deep --prompt-blocks "$first-$depth" "$@"; done
study --methods vpt-deep --prompt-shared "$@"
study --methods vpt-shallow,vpt-deep --prompt-location add "$@"
study --methods vpt-shallow --prompt-location pixels "$@"
for pooled in images prompts all; do study --methods vpt-deep --prompt-pooling "$pooled" "$@"; done
study --methods vpt-shallow,vpt-deep --prompt-init class-tokens "$@"
for width in ${PROJECTIONS:-8 32}; do study --methods vpt-deep --prompt-projection "$width" "$@"; done
for share in ${DROPOUTS:-0 0.1 0.5}; do study --methods vpt-deep --prompt-dropout "$share" "$@"; done
"$(dirname "${BASH_SOURCE[0]}")/ensembles.sh" "$vitrine" "$suite" "$out/ensembles" "$@"
"$vitrine" table "$out/lengths" --by prompts --out "$out/by-prompts.md"
"$vitrine" table "$out" --out "$out/variants.md"
