#!/usr/bin/env bash
# train-size.sh: the paper's figure 3: accuracy against the number of training images, for methods on the tasks of a suite.
#
#   bench/studies/train-size.sh build/examples/vitrine suites/mini-vtab.toml OUT [options of vitrine sweep]
#
# SIZES (50,100,200,400,800) are the numbers of images that final runs learn from in all; a fifth of them chose the settings.
# Several of it may run on one OUT.
set -euo pipefail
usage="usage: train-size.sh VITRINE SUITE OUT [OPTIONS...]"
vitrine=${1:?$usage} suite=${2:?$usage} out=${3:?$usage}
shift 3
"$vitrine" sweep --suite "$suite" --train-sizes "${SIZES:-50,100,200,400,800}" --methods linear,vpt-shallow,vpt-deep,full --out "$out" "$@"
"$vitrine" table "$out" --by train-size --out "$out/by-train-size.md"
