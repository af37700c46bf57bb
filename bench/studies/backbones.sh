#!/usr/bin/env bash
# backbones.sh: the paper's figure 4: methods on backbones of several sizes, all in one folder.
#
#   bench/studies/backbones.sh build/examples/vitrine suites/vtab-1k.toml OUT "vit-b16.safetensors vit-l16.safetensors" [options]
#
# Without files of your own: "builtin builtin-swin".
set -euo pipefail
usage="usage: backbones.sh VITRINE SUITE OUT BACKBONES [OPTIONS...]"
vitrine=${1:?$usage} suite=${2:?$usage} out=${3:?$usage} backbones=${4:?$usage}
[[ $backbones != -* ]] || { echo "$usage" >&2; exit 1; }
shift 4
for backbone in $backbones; do
  "$vitrine" sweep --suite "$suite" --backbone "$backbone" --methods linear,vpt-shallow,vpt-deep,full --out "$out" "$@"
done
"$vitrine" table "$out" --by backbone --out "$out/by-backbone.md"
