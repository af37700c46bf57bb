#!/usr/bin/env bash
# methods.sh: the paper's table 1 on mini-VTAB: its methods with both built-in backbones, three seeds each.
#
#   bench/studies/methods.sh build/examples/vitrine OUT [options of vitrine sweep]
#
# OUT/vit and OUT/swin are sweeps with tables of their own. With LEDGERS=bench/results only what is not in that folder's
# ledgers (mini-vtab.jsonl and mini-vtab-swin.jsonl, if they are there) is run. Several of it may run on one OUT. With the ViT
# all settings are searched. With the Swin those of heads are; the others have the learning rates below, which spares half of
# the time.
set -euo pipefail
usage="usage: methods.sh VITRINE OUT [OPTIONS...]"
vitrine=${1:?$usage} out=${2:?$usage}
shift 2
[[ -z ${LEDGERS:-} || -d $LEDGERS ]] || { echo "methods.sh: LEDGERS=$LEDGERS is no folder" >&2; exit 1; }
sweep() { # BACKBONE FOLDER LEDGER OPTIONS...
  local backbone=$1 folder=$2 ledger=${LEDGERS:+$LEDGERS/$3}
  shift 3
  [[ -e $ledger ]] && set -- --ledger "$ledger" "$@"
  "$vitrine" sweep --suite "$(dirname "${BASH_SOURCE[0]}")/../../suites/mini-vtab.toml" --backbone "$backbone" --out "$folder" "$@"
}
vit() { sweep builtin "$out/vit" mini-vtab.jsonl "$@"; }
swin() { sweep builtin-swin "$out/swin" mini-vtab-swin.jsonl "$@"; }

vit --methods linear,vpt-shallow,vpt-deep,full,partial-1,mlp-3,sidetune,bias,adapter-8 "$@"
swin --methods linear,mlp-3 "$@"
swin --methods vpt-shallow,vpt-deep,bias,adapter-8 --lr 3e-3 "$@"
swin --methods full,partial-1,sidetune --lr 1e-3 "$@"
for folder in vit swin; do "$vitrine" table "$out/$folder" --out "$out/$folder/table.md"; done
"$vitrine" table "$out/vit" "$out/swin" --by backbone --out "$out/by-backbone.md"  # the paper's figure 4
cat "$out/vit/table.md" "$out/swin/table.md" "$out/by-backbone.md"
